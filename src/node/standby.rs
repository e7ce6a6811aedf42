//! A node that waits for the role of the active node. It answers each request that it is not active.

use std::convert::Infallible;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::net::TcpListener;

use crate::boundary::seen_nodes::SeenNodes;
use crate::http::standby;
use crate::node::config::Config;
use crate::node::file_problem::{FileProblem, Problems};
use crate::node::handover::StandbyKey;
use crate::node::open_store;
use crate::node::served_certificate::ServedCertificate;
use crate::node::service_manager::Notifier;
use crate::store::database::Role;
use crate::store::server::Turn;
use judgement::trust::signer::FileSigner;

/// Pause between two attempts to become the active node.
const PAUSE: Duration = Duration::from_secs(1);

/// Waits until this node is the active node. Meanwhile it answers requests with 503.
///
/// # Errors
/// Returns an error if the database refuses this node, or if the address of the service is not free.
pub(super) async fn wait(
    config: &Config,
    key: &FileSigner,
    certificate: Option<&ServedCertificate>,
    passed: Option<&std::net::TcpListener>,
    notifier: &Notifier,
    nodes: Option<Arc<SeenNodes>>,
) -> Result<Role, Problems> {
    let problem = |what: &dyn std::fmt::Display| Problems::from(FileProblem::of_store(&config.database, what));
    let mut candidate = open_store::candidate(config, key)?;
    let mut sealed_key = StandbyKey::new(config, key);
    let why = Arc::new(Mutex::new(String::new()));
    let mut answering: Option<tokio::task::JoinHandle<Infallible>> = None;
    loop {
        let attempt = move || (candidate.attempt(&mut || sealed_key.waits()), candidate, sealed_key);
        let turn;
        (turn, candidate, sealed_key) = tokio::task::spawn_blocking(attempt).await.map_err(|error| problem(&error))?;
        let reason = match turn {
            Ok(Turn::Active(role)) => {
                if let Some(task) = answering {
                    task.abort();
                    // The listener must be closed before the service listens on the same address.
                    let _ = task.await;
                }
                return Ok(role);
            }
            Ok(Turn::Waits(why)) => why,
            Err(fault) if fault.is_unreachable() => fault.to_string(),
            Err(fault) => return Err(problem(&fault)),
        };
        let earlier = std::mem::replace(&mut *why.lock().unwrap_or_else(PoisonError::into_inner), reason.clone());
        if earlier != reason {
            tracing::info!("not active: {reason}");
            notifier.ready(&format!("not active: {reason}"));
        }
        if answering.is_none() {
            let listener = match passed {
                Some(passed) => passed.try_clone().and_then(TcpListener::from_std),
                None => TcpListener::bind(config.listen).await,
            };
            let listener = listener.map_err(|error| {
                FileProblem::whole(&config.path, format!("can't listen on {} ({error})", config.listen))
            })?;
            let tls = certificate.map(ServedCertificate::server);
            answering = Some(tokio::spawn(standby::serve(listener, tls, why.clone(), nodes.clone())));
        }
        tokio::time::sleep(PAUSE).await;
    }
}
