//! Routes, each registered and written down in one step, so that none exists which the table does not name. Those of the
//! APIs are described in the same step: what `#[utoipa::path]` says above a handler is its route, and goes into the document.

use std::sync::Arc;

use axum::{
    Router,
    handler::Handler,
    http::Method,
    routing::{MethodFilter, MethodRouter, on},
};
use utoipa::openapi::{Paths, RefOr, schema::Schema};
use utoipa_axum::router::UtoipaMethodRouter;

use super::Api;

/// What a listener answers.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Route {
    /// The method; `HEAD` goes with every `GET`.
    pub method: Method,
    /// The path, with its parameters in braces.
    pub path: &'static str,
}

/// What the document says of the routes.
#[derive(Clone, Default)]
pub(super) struct Described {
    pub(super) paths: Paths,
    /// The schemas that they name, some of them often.
    pub(super) schemas: Vec<(String, RefOr<Schema>)>,
}

/// Handlers, and the table of them.
#[derive(Default)]
pub(super) struct Routes {
    router: Router<Arc<Api>>,
    table: Vec<Route>,
    described: Described,
}

impl Routes {
    pub(super) fn new() -> Self {
        Self::default()
    }

    /// A route of an API, as `routes!(handler)` makes it of the handler and the `#[utoipa::path]` above it.
    pub(super) fn route(mut self, (schemas, paths, handler): UtoipaMethodRouter<Arc<Api>>) -> Self {
        for (path, item) in &paths.paths {
            let methods = [
                (Method::GET, &item.get),
                (Method::POST, &item.post),
                (Method::PATCH, &item.patch),
                (Method::DELETE, &item.delete),
            ];
            // Made anew by every call, and as long-lived as the process: one or two for each of its listeners.
            let path = &*Box::leak(path.clone().into_boxed_str());
            for (method, _) in methods.into_iter().filter(|(_, operation)| operation.is_some()) {
                self = self.add(method, path, handler.clone());
            }
        }
        self.described.paths.merge(paths);
        self.described.schemas.extend(schemas);
        self
    }

    fn add(mut self, method: Method, path: &'static str, handler: MethodRouter<Arc<Api>>) -> Self {
        self.router = self.router.route(path, handler);
        self.table.push(Route { method, path });
        self
    }

    /// A route that is no part of an API, such as a page and what belongs to it.
    pub(super) fn get<H: Handler<T, Arc<Api>>, T: 'static>(self, path: &'static str, handler: H) -> Self {
        self.add(Method::GET, path, on(MethodFilter::GET, handler))
    }

    /// What a page sends.
    pub(super) fn post<H: Handler<T, Arc<Api>>, T: 'static>(self, path: &'static str, handler: H) -> Self {
        self.add(Method::POST, path, on(MethodFilter::POST, handler))
    }

    /// What a page ends.
    pub(super) fn delete<H: Handler<T, Arc<Api>>, T: 'static>(self, path: &'static str, handler: H) -> Self {
        self.add(Method::DELETE, path, on(MethodFilter::DELETE, handler))
    }

    pub(super) fn merge(mut self, other: Self) -> Self {
        self.router = self.router.merge(other.router);
        self.table.extend(other.table);
        self.described.paths.merge(other.described.paths);
        self.described.schemas.extend(other.described.schemas);
        self
    }

    pub(super) fn described(&self) -> &Described {
        &self.described
    }

    pub(super) fn into_router(self) -> Router<Arc<Api>> {
        self.router
    }

    pub(super) fn into_table(self) -> Vec<Route> {
        self.table
    }
}
