//! Reflection, so that `grpcurl` needs no `.proto` files.

use tonic_reflection::server::{Builder, v1, v1alpha};
use zeroshare_wire::pb::DESCRIPTORS;

/// The descriptors compiled into this program cannot be read.
#[derive(Debug, thiserror::Error)]
#[error("the descriptors of our services are damaged")]
pub struct ReflectionError(#[source] tonic_reflection::server::Error);

/// Makes the reflection services over all of our services and health: v1, and v1alpha, which many
/// tools still ask for first.
pub fn reflection() -> Result<
    (
        v1::ServerReflectionServer<impl v1::ServerReflection>,
        v1alpha::ServerReflectionServer<impl v1alpha::ServerReflection>,
    ),
    ReflectionError,
> {
    Ok((
        builder().build_v1().map_err(ReflectionError)?,
        builder().build_v1alpha().map_err(ReflectionError)?,
    ))
}

fn builder() -> Builder<'static> {
    Builder::configure()
        .register_encoded_file_descriptor_set(DESCRIPTORS)
        .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
}
