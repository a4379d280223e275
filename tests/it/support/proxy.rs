//! A stable address in front of a server that can change: what a failover moves.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex},
};

use tokio::{
    io::copy_bidirectional,
    net::{TcpListener, TcpStream},
    task::JoinSet,
};

pub(crate) struct Proxy {
    pub(crate) address: SocketAddr,
    state: Arc<Mutex<State>>,
}

struct State {
    /// None refuses every connection.
    target: Option<u16>,
    connections: JoinSet<()>,
}

impl Proxy {
    pub(crate) async fn start(port: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let state = Arc::new(Mutex::new(State { target: Some(port), connections: JoinSet::new() }));
        tokio::spawn({
            let state = Arc::clone(&state);
            async move {
                while let Ok((mut stream, _)) = listener.accept().await {
                    let mut state = state.lock().unwrap();
                    let Some(port) = state.target else { continue };
                    state.connections.spawn(async move {
                        if let Ok(mut server) = TcpStream::connect(("127.0.0.1", port)).await {
                            let _ = copy_bidirectional(&mut stream, &mut server).await;
                        }
                    });
                }
            }
        });
        Self { address, state }
    }

    /// Cuts every connection; new ones go to this port from now on, or nowhere.
    pub(crate) fn switch(&self, target: Option<u16>) {
        let mut state = self.state.lock().unwrap();
        state.target = target;
        state.connections = JoinSet::new();
    }
}
