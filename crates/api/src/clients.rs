//! Clients with the bounds that our messages have.

use crate::{
    connect::TracedChannel,
    rpc::{
        discovery::v1::discovery_service_client::DiscoveryServiceClient,
        fetcher::v1::fetcher_service_client::FetcherServiceClient,
        store::v1::{
            local_store_service_client::LocalStoreServiceClient,
            store_service_client::StoreServiceClient,
        },
    },
};

/// The longest run of bytes that one message carries, of a manifest, a piece or a file.
pub const MAX_CHUNK_BYTES: usize = 1024 * 1024;

/// What is read from a peer at once: a chunk and what belongs to it, not a byte to allocate more.
pub const MAX_PEER_MESSAGE_BYTES: usize = MAX_CHUNK_BYTES + 64 * 1024;

/// What is read from a service of this machine at once: a page of 1,000 long paths.
pub const MAX_LOCAL_MESSAGE_BYTES: usize = 4 * 1024 * 1024;

/// Reads from a peer's store.
pub fn store(channel: TracedChannel) -> StoreServiceClient<TracedChannel> {
    StoreServiceClient::new(channel).max_decoding_message_size(MAX_PEER_MESSAGE_BYTES)
}

/// Asks this machine's store.
pub fn local_store(channel: TracedChannel) -> LocalStoreServiceClient<TracedChannel> {
    LocalStoreServiceClient::new(channel).max_decoding_message_size(MAX_LOCAL_MESSAGE_BYTES)
}

/// Asks this machine's discovery.
pub fn discovery(channel: TracedChannel) -> DiscoveryServiceClient<TracedChannel> {
    DiscoveryServiceClient::new(channel).max_decoding_message_size(MAX_LOCAL_MESSAGE_BYTES)
}

/// Asks this machine's fetcher.
pub fn fetcher(channel: TracedChannel) -> FetcherServiceClient<TracedChannel> {
    FetcherServiceClient::new(channel).max_decoding_message_size(MAX_LOCAL_MESSAGE_BYTES)
}
