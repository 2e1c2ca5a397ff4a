//! What every process of zeroshare stands on: configuration, telemetry, lifetime, listeners and their bounds.
//!
//! It knows no trees, no peers and no service: it is handed routes and bounds, and keeps strangers within them.
//! Start reading at [`serve`] (the accept loop), then [`Lifetime`] (how everything ends), then [`settings`].

pub mod health;
pub mod heap;
mod lifetime;
pub mod listen;
pub mod lock;
pub mod networks;
pub mod places;
pub mod process;
pub mod propagate;
pub mod rate;
pub mod restrict;
pub mod serve;
pub mod settings;
pub mod shutdown;
pub mod telemetry;

pub use lifetime::Lifetime;
pub use places::{Env, Places};
