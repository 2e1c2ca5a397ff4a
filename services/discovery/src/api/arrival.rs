//! Telling others that something is looked for, or on its way here, until whoever said so is gone.

use tokio::sync::mpsc;
use tokio_stream::{StreamExt as _, wrappers::ReceiverStream};
use tonic::{Status, Streaming};
use tracing::{debug, info};
use zeroshare_api::{clients, connect::TracedChannel, errors::malformed_field};
use zeroshare_content::ContentId;
use zeroshare_wire::{
    convert::content_id,
    pb::{
        discovery::v1::AnnounceArrivalRequest,
        store::v1::AnnounceArrivalRequest as StoreAnnouncement,
    },
};

use crate::engine::Command;

/// Changes that wait for the store.
const AHEAD: usize = 4;

/// Follows one announcement: the store tells whoever connects to it, and answers by datagram tell whoever asks.
pub(super) async fn announce(
    engine: &mpsc::Sender<Command>,
    store: TracedChannel,
    mut said: Streaming<AnnounceArrivalRequest>,
) -> Result<(), Status> {
    let Some(first) = said.message().await? else {
        return Ok(());
    };
    let content =
        content_id("content_id", &first.content_id).map_err(|error| malformed_field(&error))?;
    let (tell, told) = mpsc::channel(AHEAD);
    let mut arrival = Arrival {
        content,
        engine: engine.clone(),
        is_on_its_way: false,
    };
    let following = async {
        let mut change = Some(first);
        while let Some(now) = change {
            let announcement = StoreAnnouncement {
                content_id: content.to_string(),
                on_its_way: now.on_its_way,
            };
            if tell.send(announcement).await.is_err() {
                break;
            }
            arrival.tell(now.on_its_way).await;
            // Whoever announces and breaks off has ended it all the same.
            change = said.next().await.and_then(Result::ok);
        }
    };
    let mut client = clients::local_store(store);
    let telling = client.announce_arrival(ReceiverStream::new(told));
    let end = tokio::select! {
        () = following => Ok(()),
        end = telling => end.map(drop),
    };
    arrival.tell(false).await;
    if let Err(status) = &end {
        debug!(%content, why = status.message(), "the store does not tell of it");
    }
    end
}

/// What answers by datagram say; nothing any more once this is dropped.
struct Arrival {
    content: ContentId,
    engine: mpsc::Sender<Command>,
    is_on_its_way: bool,
}

impl Arrival {
    async fn tell(&mut self, is_on_its_way: bool) {
        if self.is_on_its_way == is_on_its_way {
            return;
        }
        self.is_on_its_way = is_on_its_way;
        info!(content = %self.content, is_on_its_way, "on its way here");
        let command = Command::Arrival(self.content, is_on_its_way);
        // The engine is gone only when the service stops.
        drop(self.engine.send(command).await);
    }
}

impl Drop for Arrival {
    fn drop(&mut self) {
        if self.is_on_its_way {
            // The call was broken off. An engine too busy to hear it says a little longer what is checked by a connection anyway.
            drop(self.engine.try_send(Command::Arrival(self.content, false)));
        }
    }
}
