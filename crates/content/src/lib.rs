//! Ids, digests, names, manifests and the piece layout of trees and blobs.
