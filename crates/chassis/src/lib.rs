//! What every process of zeroshare stands on: configuration, telemetry, lifetime, listeners and their bounds.
