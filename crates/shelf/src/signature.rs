//! How feeds are signed, and what `gpg` says of it.
//!
//! The format: <https://docs.0install.net/specifications/feed/#digital-signatures>.

use data_encoding::BASE64;

/// What stands before the signature; the line's beginning belongs to what is signed.
const BEGIN: &str = "\n<!-- Base64 Signature\n";

/// What stands behind it.
const END: &str = "-->";

/// What `gpg`'s status lines begin with.
const STATUS: &str = "[GNUPG:] ";

/// Who made the one signature of a feed, which is good. Both are fingerprints in hexadecimal digits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signer {
    /// The key that made it.
    pub signing: String,
    /// The key that this one belongs to; most often the same.
    pub primary: String,
}

/// Why a signature does not count.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SignatureFault {
    /// It is by a key that is not at hand.
    #[error("it is signed with another key")]
    OtherKey,
    /// The feed is not what was signed.
    #[error("its signature is wrong")]
    Wrong,
    /// The key or the signature has expired, or was revoked.
    #[error("its signature does not count any more: it or the key has expired, or was revoked")]
    Expired,
    /// One signature is expected.
    #[error("it is signed with several keys")]
    Several,
    /// There is none.
    #[error("it has no signature that gpg understands")]
    None,
}

/// Splits a feed into what is signed and the signature, a binary one; `None` if there is none.
pub fn split_signed(text: &str) -> Option<(&str, Vec<u8>)> {
    let (signed, rest) = text.split_at(text.rfind(BEGIN)? + 1);
    let base64 = rest[BEGIN.len() - 1..].trim_end().strip_suffix(END)?;
    let base64: String = base64.split_ascii_whitespace().collect();
    Some((signed, BASE64.decode(base64.as_bytes()).ok()?))
}

impl Signer {
    /// Reads what `gpg --verify` says with `--status-fd`.
    pub fn of_status(status: &str) -> Result<Self, SignatureFault> {
        let lines = status.lines().filter_map(|line| line.strip_prefix(STATUS));
        let all: Vec<Vec<&str>> = lines.map(|line| line.split(' ').collect()).collect();
        let of = |name: &str| -> Vec<&[&str]> {
            let named = all.iter().filter(|words| words.first() == Some(&name));
            named.map(Vec::as_slice).collect()
        };
        let has = |names: &[&str]| names.iter().any(|name| !of(name).is_empty());
        if of("NEWSIG").len() > 1 {
            return Err(SignatureFault::Several);
        }
        if has(&["BADSIG"]) {
            return Err(SignatureFault::Wrong);
        }
        if has(&["NO_PUBKEY"]) {
            return Err(SignatureFault::OtherKey);
        }
        if has(&["EXPSIG", "EXPKEYSIG", "REVKEYSIG"]) {
            return Err(SignatureFault::Expired);
        }
        match of("VALIDSIG").as_slice() {
            [[_, signing, .., primary]] if is_fingerprint(signing) && is_fingerprint(primary) => {
                Ok(Self {
                    signing: (*signing).to_owned(),
                    primary: (*primary).to_owned(),
                })
            }
            _ => Err(SignatureFault::None),
        }
    }
}

fn is_fingerprint(text: &str) -> bool {
    (40..=64).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

#[cfg(test)]
mod tests {
    use super::*;

    const FINGERPRINT: &str = "DC039AFEE27D6AF1E18368F80CE03135DC8FA073";

    #[test]
    fn the_signature_is_what_stands_in_the_last_comment() {
        let text = "<?xml ?>\n<interface/>\n<!-- Base64 Signature\naGk=\n\n-->\n";
        let (signed, signature) = split_signed(text).unwrap();
        assert_eq!(signed, "<?xml ?>\n<interface/>\n");
        assert_eq!(signature, b"hi");
        for bad in [
            "",
            "<interface/>",
            "\n<!-- Base64 Signature\na?\n-->",
            "\n<!-- Base64 Signature\naGk=\n",
            "\n<!-- Base64 Signature\n",
        ] {
            assert_eq!(split_signed(bad), None, "{bad}");
        }
    }

    #[test]
    fn one_good_signature_counts_and_nothing_else() {
        let valid = format!(
            "gpg: noise\n[GNUPG:] NEWSIG\n[GNUPG:] GOODSIG 0CE03135DC8FA073 A\n\
             [GNUPG:] VALIDSIG {FINGERPRINT} 2026-11-21 1795000000 0 4 0 22 8 00 {FINGERPRINT}\n"
        );
        let signer = Signer::of_status(&valid).unwrap();
        assert_eq!(
            (&*signer.signing, &*signer.primary),
            (FINGERPRINT, FINGERPRINT)
        );
        let begun = "[GNUPG:] NEWSIG\n[GNUPG:] ";
        for (status, fault) in [
            (String::new(), SignatureFault::None),
            (
                format!("{begun}BADSIG 0CE03135DC8FA073 A"),
                SignatureFault::Wrong,
            ),
            (
                format!("{begun}NO_PUBKEY 0CE03135DC8FA073"),
                SignatureFault::OtherKey,
            ),
            (
                format!("{valid}[GNUPG:] EXPKEYSIG 0C A"),
                SignatureFault::Expired,
            ),
            (format!("{valid}{valid}"), SignatureFault::Several),
            (valid.replace(FINGERPRINT, "--x"), SignatureFault::None),
            (
                valid.replace("[GNUPG:] VALID", "VALID"),
                SignatureFault::None,
            ),
        ] {
            assert_eq!(Signer::of_status(&status), Err(fault), "{status}");
        }
    }
}
