//! Many machines in one process, with virtual time and a seed.
