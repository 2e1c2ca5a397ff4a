//! The format, pinned by vectors that an independent program made, and its laws.

mod hostile;
mod samples;
mod vectors;

use proptest::prelude::*;

use self::samples::{key, longest, sample};
use super::*;

proptest! {
    #[test]
    fn what_is_written_is_read_again(sent in sample(), signed: bool, grouped: bool) {
        let group = if grouped { GroupKey::from_keys([7; 32], [7; 32]) } else { GroupKey::none() };
        let signer = signed.then(key);
        let bytes = encode(&sent, &group, signer.as_ref());
        prop_assert!(bytes.len() <= MAX_DATAGRAM_BYTES);
        prop_assert_eq!(&decode(&bytes, &group), &Ok(sent.clone()));
        prop_assert_eq!(
            verify_origin(&bytes, sent.node),
            Ok(signer.map(|key| key.public_key()))
        );
    }

    #[test]
    fn padding_reaches_what_is_asked_for(sent in sample(), least in 0_usize..2000) {
        let bytes = encode_padded(&sent, &GroupKey::none(), None, least);
        prop_assert!(bytes.len() >= least.min(MAX_DATAGRAM_BYTES));
        prop_assert!(bytes.len() <= MAX_DATAGRAM_BYTES);
        prop_assert_eq!(decode(&bytes, &GroupKey::none()), Ok(sent));
    }

    #[test]
    fn a_filter_never_misses_what_is_held(bits in prop::collection::btree_set(any::<u64>(), 0..1500)) {
        let filters = Bloom::summaries(bits.iter().copied().map(Tag::from_bits));
        prop_assert_eq!(filters.len(), bits.len().div_ceil(TAGS_PER_FILTER).max(1));
        for filter in &filters {
            prop_assert!(filter.as_bytes().len() <= MAX_FILTER_BYTES);
            prop_assert!(!filter.is_overfull());
        }
        for tag in bits.into_iter().map(Tag::from_bits) {
            prop_assert!(filters.iter().any(|filter| filter.contains(tag)));
        }
    }
}

#[test]
fn the_longest_of_each_kind_fits_and_no_answer_is_longer_than_its_question() {
    let group = GroupKey::from_keys([7; 32], [7; 32]);
    let signer = key();
    let length = |body: &Body| {
        let bytes = encode(&longest(body.clone()), &group, Some(&signer));
        assert_eq!(decode(&bytes, &group), Ok(longest(body.clone())));
        bytes.len()
    };
    for body in samples::longest_bodies() {
        assert!(length(&body) <= MAX_DATAGRAM_BYTES, "{body:?}");
    }
    for tags in 1..=MAX_ASKED {
        let question = encode(
            &samples::shortest(samples::query(tags)),
            &GroupKey::none(),
            None,
        );
        assert!(question.len() >= MIN_QUERY_BYTES);
        assert!(length(&samples::answer(tags)) <= question.len());
    }
}

#[test]
fn an_unsigned_echo_is_not_longer_than_the_shortest_beacon() {
    let alive = encode(
        &samples::shortest(samples::alive()),
        &GroupKey::none(),
        None,
    );
    let group = GroupKey::from_keys([7; 32], [7; 32]);
    for reply in [false, true] {
        let mut echo = longest(Body::Echo(Echo {
            nonce: u64::MAX,
            reply,
        }));
        echo.trace = None;
        assert!(encode(&echo, &group, None).len() <= alive.len());
    }
}

#[test]
fn numbers_out_of_bounds_are_brought_back() {
    let mut sent = samples::shortest(samples::query(1));
    let Body::Query(query) = &mut sent.body else {
        panic!("a query");
    };
    query.enough = 0;
    query.spread = 2 * MAX_SPREAD;
    query.round = 255;
    let bytes = encode(&sent, &GroupKey::none(), None);
    let Body::Query(read) = decode(&bytes, &GroupKey::none()).unwrap().body else {
        panic!("a query");
    };
    assert_eq!(
        (read.enough, read.spread, read.round),
        (1, MAX_SPREAD, MAX_ROUND)
    );
}

#[test]
fn a_filter_estimates_what_it_sums_up() {
    for count in [1_u64, 50, 300, 480] {
        // Splitting 2⁶⁴ by the golden ratio spreads tags evenly.
        let tags = (1..=count).map(|i| Tag::from_bits(i.wrapping_mul(0x9e37_79b9_7f4a_7c15)));
        let filter = &Bloom::summaries(tags)[0];
        let estimate = u64::from(filter.estimated_len().unwrap());
        assert!(
            estimate.abs_diff(count) <= 1 + count / 8,
            "{estimate} for {count}"
        );
    }
    let nothing = &Bloom::summaries([])[0];
    assert_eq!(nothing.estimated_len(), Some(0));
    assert!(!nothing.contains(Tag::from_bits(0)));
}

#[test]
fn node_ids_are_read_as_they_are_shown() {
    let node = key().node_id();
    assert_eq!(node.to_string().parse(), Ok(node));
    for text in ["", "00", "zz", &"0".repeat(33), &"é".repeat(16)] {
        assert_eq!(text.parse::<NodeId>(), Err(NodeIdError));
    }
}

#[test]
fn secrets_are_not_shown() {
    let shown = format!("{:?} {:?}", GroupKey::from_keys([7; 32], [7; 32]), key());
    assert_eq!(
        shown,
        format!("GroupKey(secret) SigningKey(of {})", key().node_id())
    );
}
