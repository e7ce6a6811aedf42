//! Reports to the service manager that the store's writer and the event loop work.

use std::{convert::Infallible, time::Duration};

use tokio::{
    task::JoinSet,
    time::{Instant, Interval, MissedTickBehavior, interval, sleep},
};

use crate::{ServiceManager, node::service_manager::Notifier};
use store::Ledger;

/// Time that the service requests with each message while it recovers or ends.
const EXTENSION: Duration = Duration::from_secs(60);
/// Pause between two requests for more time.
const EXTENSION_PAUSE: Duration = Duration::from_secs(15);
/// Longest time for which the service requests more time while it opens its store.
const LONGEST_OPENING: Duration = Duration::from_secs(3600);
/// Minimum pause between two messages of the watchdog, for a service manager with a very short interval.
const SHORTEST_PAUSE: Duration = Duration::from_millis(10);

/// Reports twice in each interval of the watchdog that the service works, if the service manager has a watchdog.
///
/// Each report needs four things: the timer of the event loop, the thread that polls this future, a thread of the event
/// loop, and an answer of the store's writer. The service manager restarts the service if one of them does not respond
/// for longer than the interval. The caller must poll this future in the task that accepts connections.
pub async fn keep_alive(manager: &ServiceManager, ledger: &Ledger) -> Infallible {
    if let Some(time) = manager.watchdog.filter(|_| manager.notifier.is_connected()) {
        let mut every = every((time / 2).max(SHORTEST_PAUSE));
        loop {
            every.tick().await;
            if writer_answers(ledger).await {
                manager.notifier.alive();
            }
        }
    }
    std::future::pending().await
}

/// Requests more time from the service manager while the writer of the store works, for at most the time `most`.
pub async fn extend(notifier: &Notifier, ledger: &Ledger, most: Option<Duration>) -> Infallible {
    let began = Instant::now();
    while notifier.is_connected() && most.is_none_or(|most| began.elapsed() < most) {
        if writer_answers(ledger).await {
            notifier.extend(EXTENSION);
        }
        sleep(EXTENSION_PAUSE).await;
    }
    std::future::pending().await
}

/// Requests more time from the service manager while the service opens its store, until the returned value is dropped.
///
/// The first request is sent at once. A store that opens for longer than [`LONGEST_OPENING`] counts as stuck.
pub fn extend_opening(notifier: &Notifier) -> JoinSet<()> {
    let (notifier, began, mut asking) = (notifier.clone(), Instant::now(), JoinSet::new());
    if notifier.is_connected() {
        notifier.extend(EXTENSION);
        // The thread that opens the store does not poll its other tasks, so this is a task of another thread.
        asking.spawn(async move {
            while began.elapsed() < LONGEST_OPENING {
                sleep(EXTENSION_PAUSE).await;
                notifier.extend(EXTENSION);
            }
        });
    }
    asking
}

/// Returns an interval whose first tick comes at once. A late tick delays all later ticks.
pub fn every(time: Duration) -> Interval {
    let mut every = interval(time);
    every.set_missed_tick_behavior(MissedTickBehavior::Delay);
    every
}

/// Sends an empty request to the writer, from a thread of the event loop, and waits for the answer.
async fn writer_answers(ledger: &Ledger) -> bool {
    let ledger = ledger.clone();
    let answered = tokio::spawn(async move { ledger.ping().await });
    matches!(answered.await, Ok(Ok(())))
}
