//! Routes, each registered and written down in one step, so that none exists which the table does not name.

use std::sync::Arc;

use axum::{
    Router,
    handler::Handler,
    http::Method,
    routing::{MethodFilter, MethodRouter, on},
};

use super::Api;

/// What a listener answers.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Route {
    /// The method; `HEAD` goes with every `GET`.
    pub method: Method,
    /// The path, with its parameters in braces.
    pub path: &'static str,
}

/// Handlers, and the table of them.
#[derive(Default)]
pub(super) struct Routes {
    router: Router<Arc<Api>>,
    table: Vec<Route>,
}

impl Routes {
    pub(super) fn new() -> Self {
        Self::default()
    }

    fn add(mut self, method: Method, path: &'static str, handler: MethodRouter<Arc<Api>>) -> Self {
        self.router = self.router.route(path, handler);
        self.table.push(Route { method, path });
        self
    }

    pub(super) fn get<H: Handler<T, Arc<Api>>, T: 'static>(self, path: &'static str, handler: H) -> Self {
        self.add(Method::GET, path, on(MethodFilter::GET, handler))
    }

    pub(super) fn post<H: Handler<T, Arc<Api>>, T: 'static>(self, path: &'static str, handler: H) -> Self {
        self.add(Method::POST, path, on(MethodFilter::POST, handler))
    }

    pub(super) fn patch<H: Handler<T, Arc<Api>>, T: 'static>(self, path: &'static str, handler: H) -> Self {
        self.add(Method::PATCH, path, on(MethodFilter::PATCH, handler))
    }

    pub(super) fn delete<H: Handler<T, Arc<Api>>, T: 'static>(self, path: &'static str, handler: H) -> Self {
        self.add(Method::DELETE, path, on(MethodFilter::DELETE, handler))
    }

    pub(super) fn merge(mut self, other: Self) -> Self {
        self.router = self.router.merge(other.router);
        self.table.extend(other.table);
        self
    }

    pub(super) fn into_router(self) -> Router<Arc<Api>> {
        self.router
    }

    pub(super) fn into_table(self) -> Vec<Route> {
        self.table
    }
}
