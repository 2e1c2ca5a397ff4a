//! A world of files, lists and liars, small enough to be thought through: bytes are a number, and SHA-256 is a small hash.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};

use proptest::prelude::*;
use zeroshare_content::GRAIN;
use zeroshare_proof::{KnownList, Midstates};

/// What a grain's bytes are: right, or one of several wrong versions.
pub(super) type Version = u8;
pub(super) const RIGHT: Version = 0;

/// What is on the disk after a call broke off.
pub(super) const TORN: Version = 200;

const START: [u8; 32] = [1; 32];

/// The large file that all is about.
#[derive(Debug, Clone, Copy)]
pub(super) struct LargeFile {
    pub(super) slices: u32,
    pub(super) grains_in_slice: u32,
}

/// How somebody behaves.
#[derive(Debug, Clone)]
pub(super) struct Behaviour {
    pub(super) kind: Kind,
    pub(super) list: List,
    /// Whether it says to have the whole.
    pub(super) claims_all: bool,
    /// How likely a slice is wrong, a call lost, an answer about lists lost, of 8.
    pub(super) wrong: u8,
    pub(super) lost: u8,
    pub(super) silent: u8,
    /// Whether it sends right bytes when it is asked to check them.
    pub(super) corrects: bool,
    /// Which wrong bytes it has.
    pub(super) version: Version,
    /// Whether it is taken for having the whole before it was asked.
    pub(super) seems_whole: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// Has everything, and is right; loses a few calls.
    Honest,
    /// Honest, and has what links under the list of somebody whom it believed.
    Relay,
    /// Honest; some of its bytes went bad on its disk.
    BadDisk,
    Liar,
}

/// The list that somebody gives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum List {
    True,
    None,
    /// One state is wrong.
    WrongAt(u32),
    /// What comes of wrong bytes in one grain, and of the right ones behind it: it agrees with itself, not with the hash.
    Fake(u32, Version),
    /// The same, but true again from a border on.
    FakeUntil(u32, Version, u32),
    /// All of it is made up.
    Random(u8),
    /// Another one each time.
    Changing,
}

pub(super) fn step(before: [u8; 32], grain: u32, version: Version) -> [u8; 32] {
    let mut hasher = DefaultHasher::new();
    (before, grain, version).hash(&mut hasher);
    let word = hasher.finish().to_le_bytes();
    std::array::from_fn(|index| word[index % 8])
}

impl LargeFile {
    pub(super) fn grains(self) -> u32 {
        self.slices * self.grains_in_slice
    }

    pub(super) fn size(self) -> u64 {
        u64::from(self.grains()) * GRAIN
    }

    /// The list that somebody gives; `salt` is another one each time.
    pub(super) fn list(self, list: List, salt: u32) -> Option<KnownList> {
        let mut states = self.states(|_| RIGHT);
        let place = |grain: u32| (grain % self.grains().max(1)) as usize;
        match list {
            List::True => {}
            List::None => return None,
            List::WrongAt(border) => {
                let at = place(border);
                if let Some(state) = states.get_mut(at) {
                    *state = [7; 32];
                }
            }
            List::Fake(grain, version) => {
                states = self.states(|at| {
                    if at as usize == place(grain) {
                        version
                    } else {
                        RIGHT
                    }
                });
            }
            List::FakeUntil(grain, version, end) => {
                let fake = self.states(|at| {
                    if at as usize == place(grain) {
                        version
                    } else {
                        RIGHT
                    }
                });
                let end = place(end).min(states.len());
                states[..end].copy_from_slice(&fake[..end]);
            }
            List::Random(seed) => states.iter_mut().zip(0..).for_each(|(state, at)| {
                *state = step([seed; 32], at, seed);
            }),
            List::Changing => states.iter_mut().zip(0..).for_each(|(state, at)| {
                *state = step([9; 32], at + salt * 1000, 9);
            }),
        }
        let bytes: Vec<u8> = states.concat();
        let midstates = Midstates::from_bytes(self.size(), bytes).unwrap();
        Some(KnownList::new(midstates))
    }

    /// Whether a grain's bytes lead from border to border of a list.
    pub(super) fn holds(self, list: &KnownList, grain: u32, version: Version) -> bool {
        let states: Vec<[u8; 32]> = list.midstates().as_bytes().as_chunks().0.to_vec();
        let before = match grain.checked_sub(1) {
            None => START,
            Some(at) => states[at as usize],
        };
        let after = states.get(grain as usize).copied();
        step(before, grain, version) == after.unwrap_or_else(|| self.digest())
    }

    /// The bytes that whoever gives this list has, to be right by it as far as that is possible.
    pub(super) fn version_under(self, list: List, grain: u32) -> Version {
        if let List::Fake(at, version) | List::FakeUntil(at, version, _) = list
            && at % self.grains() == grain
        {
            version
        } else {
            RIGHT
        }
    }

    fn states(self, version: impl Fn(u32) -> Version) -> Vec<[u8; 32]> {
        let mut state = START;
        (0..self.grains() - 1)
            .map(|grain| {
                state = step(state, grain, version(grain));
                state
            })
            .collect()
    }

    fn digest(self) -> [u8; 32] {
        let states = self.states(|_| RIGHT);
        let last = self.grains() - 1;
        step(states.last().copied().unwrap_or(START), last, RIGHT)
    }
}

pub(super) fn file() -> impl Strategy<Value = LargeFile> {
    (2..7_u32, 1..4_u32).prop_map(|(slices, grains_in_slice)| LargeFile {
        slices,
        grains_in_slice,
    })
}

fn list() -> impl Strategy<Value = List> {
    prop_oneof![
        Just(List::True),
        Just(List::None),
        (1..12_u32).prop_map(List::WrongAt),
        (0..12_u32, 1..3_u8).prop_map(|(grain, version)| List::Fake(grain, version)),
        (0..12_u32, 1..3_u8, 0..12_u32)
            .prop_map(|(grain, version, end)| List::FakeUntil(grain, version, end)),
        (0..2_u8).prop_map(List::Random),
        Just(List::Changing),
    ]
}

pub(super) fn somebody() -> impl Strategy<Value = Behaviour> {
    let kind = prop_oneof![
        6 => Just(Kind::Liar),
        2 => Just(Kind::Relay),
        1 => Just(Kind::BadDisk),
    ];
    let numbers = (0..9_u8, 0..4_u8, 0..4_u8, 1..3_u8);
    (kind, list(), numbers, any::<(bool, bool, bool)>()).prop_map(
        |(kind, list, (wrong, lost, silent, version), (claims_all, corrects, seems_whole))| {
            let list = match kind {
                Kind::Honest | Kind::BadDisk => List::True,
                Kind::Relay if list == List::Changing => List::None,
                Kind::Relay | Kind::Liar => list,
            };
            Behaviour {
                kind,
                list,
                claims_all: match kind {
                    Kind::Honest | Kind::BadDisk => true,
                    Kind::Relay => false,
                    Kind::Liar => claims_all,
                },
                wrong: match kind {
                    Kind::Honest | Kind::Relay => 0,
                    Kind::BadDisk => wrong.min(3),
                    Kind::Liar => wrong,
                },
                lost,
                silent,
                corrects,
                version,
                seems_whole,
            }
        },
    )
}

impl Behaviour {
    pub(super) fn honest() -> Self {
        Self {
            kind: Kind::Honest,
            list: List::True,
            claims_all: true,
            wrong: 0,
            lost: 1,
            silent: 1,
            corrects: true,
            version: RIGHT,
            seems_whole: true,
        }
    }
}
