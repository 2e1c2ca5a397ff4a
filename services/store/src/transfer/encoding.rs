//! Compressing an answer: one zstd stream over the pieces that follow, flushed at each.

use tonic::Status;
use zeroshare_content::ContentId;
use zeroshare_shelf::Sink;
use zstd::stream::raw::{CParameter, Encoder, Operation as _, OutBuffer};

use super::lines::Compression;
use super::writer::{Field, PageWriter};

/// What is read and compressed at once.
const STEP_BYTES: usize = 128 * 1024;

/// A reader takes windows of at most 8 MiB; a larger one than this found nothing more in source trees, and costs memory.
const WINDOW_LOG: u32 = 22;

/// Whether an answer is compressed, and the state of that.
pub(super) struct Encoding<'a> {
    encoder: Encoder<'static>,
    compression: Compression,
    content: &'a ContentId,
    step: Vec<u8>,
    /// Since it was noted last.
    taken_bytes: u64,
    given_bytes: u64,
}

/// One piece on its way through the encoder.
pub(super) struct EncodedPiece<'e, 'a, 'w, 'p> {
    encoding: &'e mut Encoding<'a>,
    writer: &'w mut PageWriter<'p>,
    failure: Option<Status>,
}

impl<'a> Encoding<'a> {
    /// Starts a stream; nothing if there is no memory for it.
    pub(super) fn new(compression: Compression, content: &'a ContentId) -> Option<Self> {
        let mut encoder = Encoder::new(compression.level).ok()?;
        encoder
            .set_parameter(CParameter::WindowLog(WINDOW_LOG))
            .ok()?;
        Some(Self {
            encoder,
            compression,
            content,
            step: vec![0; STEP_BYTES],
            taken_bytes: 0,
            given_bytes: 0,
        })
    }

    /// Where the bytes of the next piece are read to.
    pub(super) fn piece<'e, 'w, 'p>(
        &'e mut self,
        writer: &'w mut PageWriter<'p>,
    ) -> EncodedPiece<'e, 'a, 'w, 'p> {
        EncodedPiece {
            encoding: self,
            writer,
            failure: None,
        }
    }

    /// Whether it is of no use.
    pub(super) fn is_vain(&self) -> bool {
        self.compression.is_vain(self.content)
    }

    fn note(&mut self) {
        let (taken, given) = (
            std::mem::take(&mut self.taken_bytes),
            std::mem::take(&mut self.given_bytes),
        );
        self.compression.note(self.content, taken, given);
    }
}

impl EncodedPiece<'_, '_, '_, '_> {
    /// Why there was no more room.
    pub(super) fn take_failure(&mut self) -> Option<Status> {
        self.failure.take()
    }

    /// Gives what is still in the encoder: a reader gets each piece whole before the next begins.
    pub(super) fn finish(mut self) -> Result<(), Status> {
        if let Some(failure) = self.failure.take() {
            return Err(failure);
        }
        loop {
            let room = self.writer.data_room(Field::Data, u64::MAX)?;
            let mut output = OutBuffer::around(room);
            let left = self.encoding.encoder.flush(&mut output);
            let given = output.pos();
            self.writer.fill(given);
            self.encoding.given_bytes += given as u64;
            if left.map_err(|error| broken(&error))? == 0 {
                break;
            }
        }
        self.encoding.note();
        Ok(())
    }

    fn encode(&mut self, bytes: usize) -> Result<(), Status> {
        let mut taken = 0;
        while taken < bytes {
            let room = self.writer.data_room(Field::Data, u64::MAX)?;
            let input = self.encoding.step.get(taken..bytes).unwrap_or_default();
            let done = self.encoding.encoder.run_on_buffers(input, room);
            let done = done.map_err(|error| broken(&error))?;
            self.writer.fill(done.bytes_written);
            self.encoding.given_bytes += done.bytes_written as u64;
            taken += done.bytes_read;
        }
        self.encoding.taken_bytes += bytes as u64;
        Ok(())
    }
}

impl Sink for EncodedPiece<'_, '_, '_, '_> {
    fn room(&mut self, wanted: u64) -> Option<&mut [u8]> {
        if self.failure.is_some() {
            return None;
        }
        let length = usize::try_from(wanted).map_or(STEP_BYTES, |wanted| wanted.min(STEP_BYTES));
        self.encoding.step.get_mut(..length)
    }

    fn filled(&mut self, bytes: usize) {
        self.failure = self.encode(bytes).err();
    }
}

fn broken(error: &std::io::Error) -> Status {
    Status::internal(format!("cannot compress: {error}"))
}
