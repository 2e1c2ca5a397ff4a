//! Waiting for several things in one task.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::task::Poll;

/// Polls all until each has its result; the results are in the order of the work. May be dropped midway.
pub(crate) async fn all<F: Future>(work: Vec<F>) -> Vec<F::Output> {
    struct Slot<F: Future>(Pin<Box<F>>, Option<F::Output>);
    let mut slots: Vec<_> = work
        .into_iter()
        .map(|future| Slot(Box::pin(future), None))
        .collect();
    poll_fn(|context| {
        let mut waits = false;
        for slot in &mut slots {
            if slot.1.is_none() {
                match slot.0.as_mut().poll(context) {
                    Poll::Ready(output) => slot.1 = Some(output),
                    Poll::Pending => waits = true,
                }
            }
        }
        if waits {
            Poll::Pending
        } else {
            Poll::Ready(())
        }
    })
    .await;
    slots.into_iter().filter_map(|slot| slot.1).collect()
}

#[cfg(test)]
mod tests {
    use tokio::sync::oneshot;

    use super::*;

    type Work = Pin<Box<dyn Future<Output = Result<i32, oneshot::error::RecvError>>>>;

    #[tokio::test]
    async fn results_keep_the_order_of_the_work() {
        let (first_sender, first) = oneshot::channel();
        let (second_sender, second) = oneshot::channel();
        second_sender.send(2).unwrap();
        let third = async {
            first_sender.send(1).unwrap();
            Ok(3)
        };
        let work: Vec<Work> = vec![Box::pin(first), Box::pin(second), Box::pin(third)];
        let results: Vec<_> = all(work).await.into_iter().map(Result::unwrap).collect();
        assert_eq!(results, [1, 2, 3]);
    }
}
