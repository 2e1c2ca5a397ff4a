//! What older sharing programs of the family speak: the original 0share of 2008, and Zero Install for .NET since 2.25.
//!
//! Both name trees as we do and hand them over as archives by HTTP/1.1; 0share finds them by a datagram. Here are the
//! forms of what they say, and trees written as the archives that they take apart. It opens no socket and no file, keeps
//! no time, and trusts nobody: what comes from such programs is bounded here, and verified by digest by whoever asked.
//!
//! Start reading at [`Question`] and [`Responder`] for 0share's datagrams, at [`Wanted`] for both ways to ask by HTTP, at
//! [`pack`] for archives.

mod pack;
mod question;
mod responder;
mod wanted;

pub use pack::{Contents, Format, PackError, Unfit, fits, pack};
pub use question::{MARK, MAX_IDS, MAX_REPLY_BYTES, Question, is_0share};
pub use responder::Responder;
pub use wanted::{DOTNET_SERVICE, Kin, PathError, Wanted};
