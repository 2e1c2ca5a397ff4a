//! Stories in network namespaces.
