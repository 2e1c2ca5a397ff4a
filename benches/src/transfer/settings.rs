//! How a tonic server and its client are set up.

use clap::{Args, ValueEnum};
use tokio::runtime::{Builder, Runtime};

/// Settings of plain tonic, each as it is by default.
#[derive(Debug, Clone, Args)]
pub(crate) struct Settings {
    /// Bytes of each message.
    #[arg(long, default_value_t = 64 * 1024)]
    pub(crate) message: u32,
    /// Bytes of a stream's window; a connection's is twice that.
    #[arg(long, default_value_t = 65_535)]
    pub(crate) window: u32,
    /// Bytes of an HTTP/2 frame at most.
    #[arg(long, default_value_t = 16_384)]
    pub(crate) frame: u32,
    /// Wait for more to send.
    #[arg(long)]
    pub(crate) delay: bool,
    /// Messages share their bytes.
    #[arg(long)]
    pub(crate) shared: bool,
    /// The runtime of both.
    #[arg(long, value_enum, default_value_t = Flavour::Multi)]
    pub(crate) flavour: Flavour,
}

/// A runtime.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Flavour {
    /// A worker for each processor.
    Multi,
    /// One thread.
    Single,
}

/// Settings with a name for people.
#[derive(Debug)]
pub(super) struct Way {
    pub(super) name: &'static str,
    pub(super) settings: Settings,
    /// Congestion control.
    pub(super) control: &'static str,
}

/// The tuned settings, each of them undone, and all of them.
pub(super) fn ways() -> Vec<Way> {
    let undone = |name, undo: fn(&mut Settings)| {
        let mut settings = Settings::tuned();
        undo(&mut settings);
        Way {
            name,
            settings,
            control: "cubic",
        }
    };
    vec![
        undone(
            "tuned: 1 MiB messages and frames, 4 MiB windows, shared bytes, one thread",
            |_| {},
        ),
        undone("64 KiB windows", |settings| settings.window = 65_535),
        undone("2 MiB windows", |settings| settings.window = 2 << 20),
        undone("16 MiB windows", |settings| settings.window = 16 << 20),
        undone("16 KiB messages", |settings| settings.message = 1 << 14),
        undone("256 KiB messages", |settings| settings.message = 1 << 18),
        undone("16 KiB frames", |settings| settings.frame = 16_384),
        undone("64 KiB frames", |settings| settings.frame = 1 << 16),
        undone("Nagle's delay", |settings| settings.delay = true),
        undone("owned bytes", |settings| settings.shared = false),
        undone("a thread for each processor", |settings| {
            settings.flavour = Flavour::Multi;
        }),
        Way {
            control: "bbr",
            ..undone("BBR", |_| {})
        },
        undone("all default", |settings| *settings = Settings::usual()),
    ]
}

impl Flavour {
    pub(crate) fn runtime(self) -> std::io::Result<Runtime> {
        match self {
            Self::Multi => Builder::new_multi_thread().enable_all().build(),
            Self::Single => Builder::new_current_thread().enable_all().build(),
        }
    }

    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Multi => "multi",
            Self::Single => "single",
        }
    }
}

impl Settings {
    /// All as it comes.
    pub(crate) fn usual() -> Self {
        Self {
            message: 64 * 1024,
            window: 65_535,
            frame: 16_384,
            delay: false,
            shared: false,
            flavour: Flavour::Multi,
        }
    }

    /// As fast as it goes.
    pub(crate) fn tuned() -> Self {
        Self {
            message: 1 << 20,
            window: 4 << 20,
            frame: 1 << 20,
            delay: false,
            shared: true,
            flavour: Flavour::Single,
        }
    }

    /// The words of a command line that say the same.
    pub(crate) fn words(&self) -> Vec<String> {
        let mut words = vec![
            format!("--message={}", self.message),
            format!("--window={}", self.window),
            format!("--frame={}", self.frame),
            format!("--flavour={}", self.flavour.word()),
        ];
        words.extend(self.delay.then(|| "--delay".to_owned()));
        words.extend(self.shared.then(|| "--shared".to_owned()));
        words
    }
}
