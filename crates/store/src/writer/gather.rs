//! Gathers messages into a batch, and closes the inbox.

use std::time::Duration;

use tokio::sync::mpsc;

/// Maximum number of messages in one batch. A failed commit affects all of them, and the first message waits for the
/// commit.
pub const MAX_BATCH: usize = 256;

/// Duration of one pause of [`gather`]. In this time, two cores check two or three requests.
const PAUSE: Duration = Duration::from_micros(150);

/// Waits for more messages while fewer than half of the callers that announced a message have sent it, because every
/// commit has a fixed cost. The wait ends when no message arrived during one pause. If at most two callers announced a message, there
/// is no wait.
pub fn gather<M>(inbox: &mut mpsc::Receiver<M>, batch: &mut Vec<M>, announced: usize) {
    let mut before = 0;
    while batch.len() > before && batch.len() < MAX_BATCH && 2 * batch.len() < announced {
        before = batch.len();
        std::thread::sleep(PAUSE);
        while batch.len() < MAX_BATCH
            && let Ok(message) = inbox.try_recv()
        {
            batch.push(message);
        }
    }
}

/// Refuses all further messages. A message that is sent while the receiver is dropped would stay in the channel, and its
/// sender would wait for ever.
pub fn close<M>(inbox: &mut mpsc::Receiver<M>) {
    inbox.close();
    while inbox.blocking_recv().is_some() {}
}

#[cfg(test)]
mod tests {
    use tokio::sync::oneshot;

    use super::*;
    use crate::{Asked, WriterMessage};

    fn batch_of(taken: usize, waiting: usize, announced: usize) -> usize {
        let (inbox, mut outbox) = mpsc::channel(MAX_BATCH * 2);
        let message = || WriterMessage::Prune(Box::new(Asked::new(1, oneshot::channel().0)));
        (0..waiting).for_each(|_| assert!(inbox.try_send(message()).is_ok()));
        let mut batch: Vec<_> = (0..taken).map(|_| message()).collect();
        gather(&mut outbox, &mut batch, announced);
        batch.len()
    }

    #[test]
    fn a_single_write_request_is_handled_at_once_and_queued_requests_are_handled_in_one_batch() {
        assert_eq!(batch_of(1, 3, 2), 1);
        assert_eq!(
            batch_of(1, 3, 3),
            4,
            "two other callers have announced a request"
        );
        assert_eq!(batch_of(2, 0, 64), 2, "no request arrives during a pause");
        assert_eq!(batch_of(2, MAX_BATCH + 7, 2 * MAX_BATCH), MAX_BATCH);
    }

    #[test]
    fn a_message_that_is_sent_while_the_inbox_is_closed_gets_an_answer() {
        let (inbox, mut outbox) = mpsc::channel(1);
        let place = inbox.clone().try_reserve_owned().expect("a place");
        let (answer, mut answered) = oneshot::channel();
        let closing = std::thread::spawn(move || close(&mut outbox));
        while !inbox.is_closed() {
            std::thread::yield_now();
        }
        std::thread::sleep(PAUSE * 100);
        place.send(WriterMessage::Prune(Box::new(Asked::new(1, answer))));
        closing.join().expect("closed");
        assert_eq!(
            answered.try_recv().map(drop),
            Err(oneshot::error::TryRecvError::Closed)
        );
    }
}
