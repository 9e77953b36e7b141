//! The command line's side.

use std::io;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::client::conn::http1;
use hyper::{Method, Request};
use hyper_util::rt::TokioIo;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::net::UnixStream;

use super::api::Problem;

/// Largest answer: the status of tens of thousands of nodes. Bytes.
const ANSWER_MAX: usize = 64 * 1024 * 1024;

/// Why the head gave no answer.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// It does not run.
    #[error("no head answers at {path}: {why}. Start it with `systemctl start wulfpack` or `wulf serve`{hint}")]
    NotRunning {
        /// Where it was looked for.
        path: PathBuf,
        /// What the system says.
        why: io::Error,
        /// What else may help.
        hint: &'static str,
    },
    /// It said no.
    #[error("{0}")]
    Refused(String),
    /// It broke off.
    #[error("the head broke off: {0}")]
    Broken(String),
}

/// Asks the running head.
#[derive(Clone, Debug)]
pub struct AdminClient {
    socket: PathBuf,
}

impl AdminClient {
    /// A client of the head whose socket is there.
    pub fn new(socket: &Path) -> Self {
        Self { socket: socket.into() }
    }

    /// Asks for something.
    pub async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, ClientError> {
        self.send(Method::GET, path, Bytes::new()).await
    }

    /// Asks to do something.
    pub async fn post<T: DeserializeOwned>(&self, path: &str, body: &impl Serialize) -> Result<T, ClientError> {
        let body = serde_json::to_vec(body).map_err(|error| ClientError::Broken(error.to_string()))?;
        self.send(Method::POST, path, body.into()).await
    }

    async fn send<T: DeserializeOwned>(&self, method: Method, path: &str, body: Bytes) -> Result<T, ClientError> {
        let stream = UnixStream::connect(&self.socket).await.map_err(|why| {
            let denied = why.kind() == io::ErrorKind::PermissionDenied;
            let hint = if denied { "; if it runs, only root and its own user may ask it" } else { "" };
            ClientError::NotRunning { path: self.socket.clone(), why, hint }
        })?;
        let broken = |error: &dyn std::fmt::Display| ClientError::Broken(error.to_string());
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(|error| broken(&error))?;
        let connection = tokio::spawn(connection);
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header("host", "wulf")
            .header("content-type", "application/json")
            .body(Full::new(body))
            .map_err(|error| broken(&error))?;
        let response = sender.send_request(request).await.map_err(|error| broken(&error))?;
        let ok = response.status().is_success();
        let body = Limited::new(response.into_body(), ANSWER_MAX).collect().await.map_err(|error| broken(&error))?;
        connection.abort();
        let bytes = body.to_bytes();
        if ok {
            return serde_json::from_slice(&bytes).map_err(|error| broken(&error));
        }
        let problem = serde_json::from_slice::<Problem>(&bytes).map(|problem| problem.error);
        Err(ClientError::Refused(problem.unwrap_or_else(|_| String::from_utf8_lossy(&bytes).into_owned())))
    }
}
