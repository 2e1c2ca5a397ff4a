//! The discovery service: who is on the LAN, and who may hold what.
