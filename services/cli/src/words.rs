//! What our services' reasons mean for people, and for the exit code.

use tonic::{Code, Status};
use zeroshare_api::errors;
use zeroshare_wire::pb::errors::v1::ErrorReason;

use crate::exit::Exit;
use crate::failure::Failure;

/// A call to a service that failed; `what` is what was asked for: an id, or words.
pub fn of_status(what: &str, status: &Status) -> Failure {
    match errors::reason(status) {
        Some(reason) => {
            let facts = errors::metadata(status);
            let fact = |key: &str| facts.get(key).map(String::as_str);
            of_reason(what, reason, status.message(), &fact)
        }
        None => of_code(what, status),
    }
}

/// A reason of our services in words. `message` is what the service said; `fact` looks up its metadata.
pub fn of_reason<'a>(
    what: &str,
    reason: ErrorReason,
    message: &str,
    fact: &dyn Fn(&str) -> Option<&'a str>,
) -> Failure {
    let mut words = explain(what, reason, fact);
    // What the service says knows more: which peer, which file, how many bytes. Of nobody there is no more to know.
    let says_more = !message.is_empty() && reason != ErrorReason::NoProviders;
    if says_more && says_it_all(reason) && message.contains(what) {
        message.clone_into(&mut words);
    } else if says_more && !words.contains(message) {
        words = format!("{words} ({message})");
    }
    let exit = if reason == ErrorReason::NoProviders {
        Exit::Nobody
    } else if reason == ErrorReason::MalformedRequest {
        Exit::Usage
    } else {
        Exit::Failed
    };
    Failure {
        advice: advice(reason).map(str::to_owned),
        ..Failure::new(exit, name(reason), words)
    }
}

/// Whether what the service says of it is a sentence with all that is known, so that ours would only repeat it.
fn says_it_all(reason: ErrorReason) -> bool {
    matches!(
        reason,
        ErrorReason::ManifestRefused
            | ErrorReason::ProvidersExhausted
            | ErrorReason::UpstreamFailed
    )
}

/// The reason's name as it travels in errors.
pub fn name(reason: ErrorReason) -> &'static str {
    let name = reason.as_str_name();
    name.strip_prefix("ERROR_REASON_").unwrap_or(name)
}

#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "the rest is explained below"
)]
fn explain<'a>(what: &str, reason: ErrorReason, fact: &dyn Fn(&str) -> Option<&'a str>) -> String {
    use ErrorReason as R;
    match reason {
        R::NoProviders => format!("nobody has {what}"),
        R::ContentNotFound => format!("{what} is not here"),
        R::FetchNotFound => format!("no fetch of {what} is known"),
        R::NoSpace => match (fact("neededBytes"), fact("freeBytes")) {
            (Some(needed), Some(free)) => format!(
                "there is not enough space for {what}: it needs {}, and {} are free",
                bytes(needed),
                bytes(free)
            ),
            _ => format!("there is not enough space for {what}"),
        },
        R::TooLarge => match (fact("sizeBytes"), fact("limitBytes")) {
            (Some(size), Some(limit)) => format!(
                "{what} is larger than allowed: it has {}, and {} are allowed",
                bytes(size),
                bytes(limit)
            ),
            _ => format!("{what} is larger than allowed"),
        },
        R::InUse => match fact("processId") {
            Some(process) => format!("{what} is in use by another program (process {process})"),
            None => format!("{what} is in use by another program"),
        },
        R::ManifestRefused => match fact("line") {
            Some(line) => format!("the manifest of {what} is refused, line {line}"),
            None => format!("the manifest of {what} is refused"),
        },
        _ => explain_plainly(what, reason),
    }
}

#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "the rest never reaches a command"
)]
fn explain_plainly(what: &str, reason: ErrorReason) -> String {
    use ErrorReason as R;
    match reason {
        R::ProvidersExhausted => {
            format!("all who offered {what} were tried, and none gave all of it")
        }
        R::DigestMismatch => format!("the bytes of {what} do not match their digest"),
        R::MalformedRequest => {
            format!("the service does not accept what was asked about {what}")
        }
        R::StoreCorrupt => format!("{what} does not verify on this disk"),
        R::StoreUnreadable => format!("the disk refused while {what} was read or written"),
        R::NotAllowed => format!("this is not allowed: {what}"),
        R::TooManyTransfers => format!("whoever has {what} is busy"),
        R::ShuttingDown => "the node is shutting down".to_owned(),
        R::UpstreamFailed => format!("the upstream of {what} failed"),
        _ => format!("{what} failed"),
    }
}

/// What to do about it, where there is something to do.
#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "of most reasons nothing can be done"
)]
fn advice(reason: ErrorReason) -> Option<&'static str> {
    use ErrorReason as R;
    Some(match reason {
        R::NoProviders => {
            "Is `zeroshare node` running on the machine that has it? `zeroshare peers` lists those that are heard;\n\
             --from HOST asks one by name, --timeout 30s waits longer."
        }
        R::ContentNotFound => "`zeroshare list` shows what is; `zeroshare fetch ID` brings it.",
        R::FetchNotFound => "`zeroshare fetches` lists those that are.",
        R::NoSpace => {
            "Make room and ask again: what was verified is kept, and only the rest is read."
        }
        R::TooLarge => "--max-size allows more.",
        R::InUse => "Wait until it is done, and ask again.",
        R::ProvidersExhausted => {
            "Ask again: what was verified is kept, and only the rest is read. -v shows what each of them did wrong."
        }
        R::DigestMismatch => "Were files changed while they were read? Then ask again.",
        R::StoreCorrupt => "`zeroshare repair ID` fetches it anew and replaces it.",
        R::NotAllowed => "The machine's node lets only its own user and root change its stores.",
        R::TooManyTransfers => "Ask again in a few seconds.",
        R::ShuttingDown => "Start it again, or ask again without one.",
        _ => return None,
    })
}

#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "codes are for what our services did not give a reason for"
)]
fn of_code(what: &str, status: &Status) -> Failure {
    let message = status.message();
    match status.code() {
        Code::Unavailable => Failure::new(
            Exit::Failed,
            "UNREACHABLE",
            format!("the service that should answer about {what} does not: {message}"),
        )
        .advise("`zeroshare status` shows which services run."),
        Code::DeadlineExceeded => Failure::new(
            Exit::Failed,
            "UNREACHABLE",
            format!("no answer about {what} in time"),
        )
        .advise("`zeroshare status` shows which services run."),
        Code::Unimplemented => Failure::failed(format!(
            "the running node is older than this command: {message}"
        ))
        .advise("Restart it: `zeroshare version` and `zeroshare status` show both versions."),
        _ => Failure::failed(format!("{what}: {message}")),
    }
}

fn bytes(number: &str) -> String {
    number
        .parse()
        .map_or_else(|_| number.to_owned(), crate::render::words::size)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nothing(_: &str) -> Option<&'static str> {
        None
    }

    #[test]
    fn nobody_has_it_is_not_a_failure() {
        let failure = of_reason("x", ErrorReason::NoProviders, "", &nothing);
        assert_eq!(
            (failure.exit, failure.reason.as_str()),
            (Exit::Nobody, "NO_PROVIDERS")
        );
        assert_eq!(failure.message, "nobody has x");
    }

    #[test]
    fn a_full_disk_is_said_with_both_sizes() {
        let fact = |key: &str| match key {
            "neededBytes" => Some("3145728"),
            "freeBytes" => Some("1048576"),
            _ => None,
        };
        let failure = of_reason("x", ErrorReason::NoSpace, "", &fact);
        assert_eq!(
            failure.message,
            "there is not enough space for x: it needs 3.0 MiB, and 1.0 MiB are free"
        );
        assert_eq!(failure.exit, Exit::Failed);
    }

    #[test]
    fn every_reason_has_words() {
        for number in 0..=20 {
            let reason = ErrorReason::try_from(number).unwrap();
            let failure = of_reason("the tree", reason, "", &nothing);
            assert!(!failure.message.is_empty());
            assert!(
                !failure.reason.contains("ERROR_REASON"),
                "{}",
                failure.reason
            );
            assert_ne!(failure.exit, Exit::Done);
        }
    }

    #[test]
    fn what_the_service_said_of_it_is_not_said_twice() {
        let refused = "the manifest of x is refused: line 1 of the manifest: odd";
        let failure = of_reason("x", ErrorReason::ManifestRefused, refused, &nothing);
        assert_eq!(failure.message, refused);
    }

    #[test]
    fn who_did_what_is_on_the_first_line() {
        let said = "none of 1 peer(s) gave all of x (10.77.0.3:38339 sent wrong bytes)";
        let failure = of_reason("x", ErrorReason::ProvidersExhausted, said, &nothing);
        assert_eq!(failure.message, said);
        let failure = of_reason("x", ErrorReason::ProvidersExhausted, "y hung up", &nothing);
        assert!(failure.message.ends_with("(y hung up)"));
    }

    #[test]
    fn what_the_service_said_is_kept() {
        let failure = of_reason(
            "x",
            ErrorReason::StoreUnreadable,
            "read-only file system",
            &nothing,
        );
        assert!(failure.message.ends_with("(read-only file system)"));
    }
}
