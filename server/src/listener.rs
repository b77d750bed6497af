//! Accepts connections; each one is a task and an unwind boundary of its own.

use std::net::SocketAddr;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};

use crate::big_stack::panic_message;
use crate::server::Shared;
use crate::session;

/// Pause after an error of `accept`, such as too many open files, which would come again at once.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Serves connections until `stop` turns true. `alive` is dropped once the last one has ended.
pub async fn accept(
    listener: TcpListener,
    shared: Arc<Shared>,
    mut stop: watch::Receiver<bool>,
    alive: mpsc::Sender<()>,
) {
    loop {
        let accepted = tokio::select! {
            biased;
            _ = stop.wait_for(|stop| *stop) => return,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((socket, peer)) => {
                let connection = serve(
                    socket,
                    peer,
                    Arc::clone(&shared),
                    stop.clone(),
                    alive.clone(),
                );
                tokio::spawn(connection);
            }
            Err(error) => {
                tracing::warn!(%error, "cannot accept a connection");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

async fn serve(
    socket: TcpStream,
    peer: SocketAddr,
    shared: Arc<Shared>,
    stop: watch::Receiver<bool>,
    _alive: mpsc::Sender<()>,
) {
    if let Err(error) = socket.set_nodelay(true) {
        tracing::debug!(%error, "cannot set TCP_NODELAY");
    }
    // A panic ends this session only; the server goes on.
    if let Err(panic) = AssertUnwindSafe(session::serve(socket, peer, shared, stop))
        .catch_unwind()
        .await
    {
        tracing::error!("a session ended by {}", panic_message(panic.as_ref()));
    }
}
