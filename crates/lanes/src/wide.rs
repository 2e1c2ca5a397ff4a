//! Sixteen messages at once, by AVX-512: lane `n` of each register belongs to message `n`.
#![expect(
    unsafe_code,
    reason = "code for an extension of the processor is called where the processor was found to have it, and registers are \
              filled from memory"
)]

use std::arch::x86_64::{
    __m512i, _mm512_add_epi32, _mm512_loadu_si512, _mm512_ror_epi32, _mm512_set1_epi32,
    _mm512_set4_epi32, _mm512_setzero_si512, _mm512_shuffle_epi8, _mm512_shuffle_i32x4,
    _mm512_srli_epi32, _mm512_storeu_si512, _mm512_ternarylogic_epi32, _mm512_unpackhi_epi32,
    _mm512_unpackhi_epi64, _mm512_unpacklo_epi32, _mm512_unpacklo_epi64,
};

use crate::{Block, Engine, Message};

/// 32-bit words in a register.
const LANES: usize = 16;

/// What one costs is paid for all sixteen: measured against turns with the instructions for SHA-256.
const LEAST_LANES: usize = 10;

/// `a ^ b ^ c`, as a table of truth.
const XOR: i32 = 0x96;

/// Where `a` is 1 `b`, elsewhere `c`.
const CHOOSE: i32 = 0xca;

/// What two or three of them are.
const MAJORITY: i32 = 0xe8;

/// FIPS 180-4, section 4.2.2.
const K: [u32; 64] = [
    0x428a_2f98,
    0x7137_4491,
    0xb5c0_fbcf,
    0xe9b5_dba5,
    0x3956_c25b,
    0x59f1_11f1,
    0x923f_82a4,
    0xab1c_5ed5,
    0xd807_aa98,
    0x1283_5b01,
    0x2431_85be,
    0x550c_7dc3,
    0x72be_5d74,
    0x80de_b1fe,
    0x9bdc_06a7,
    0xc19b_f174,
    0xe49b_69c1,
    0xefbe_4786,
    0x0fc1_9dc6,
    0x240c_a1cc,
    0x2de9_2c6f,
    0x4a74_84aa,
    0x5cb0_a9dc,
    0x76f9_88da,
    0x983e_5152,
    0xa831_c66d,
    0xb003_27c8,
    0xbf59_7fc7,
    0xc6e0_0bf3,
    0xd5a7_9147,
    0x06ca_6351,
    0x1429_2967,
    0x27b7_0a85,
    0x2e1b_2138,
    0x4d2c_6dfc,
    0x5338_0d13,
    0x650a_7354,
    0x766a_0abb,
    0x81c2_c92e,
    0x9272_2c85,
    0xa2bf_e8a1,
    0xa81a_664b,
    0xc24b_8b70,
    0xc76c_51a3,
    0xd192_e819,
    0xd699_0624,
    0xf40e_3585,
    0x106a_a070,
    0x19a4_c116,
    0x1e37_6c08,
    0x2748_774c,
    0x34b0_bcb5,
    0x391c_0cb3,
    0x4ed8_aa4a,
    0x5b9c_ca4f,
    0x682e_6ff3,
    0x748f_82ee,
    0x78a5_636f,
    0x84c8_7814,
    0x8cc7_0208,
    0x90be_fffa,
    0xa450_6ceb,
    0xbef9_a3f7,
    0xc671_78f2,
];

/// The way for this processor, if it is one of it.
pub(crate) fn engine() -> Option<Engine> {
    let fits = is_x86_feature_detected!("avx512f") && is_x86_feature_detected!("avx512bw");
    fits.then_some(Engine {
        lanes: LANES,
        least: LEAST_LANES,
        absorb: absorb_if_fit,
    })
}

/// Only [`engine`] gives it away.
fn absorb_if_fit(lanes: &mut [&mut Message<'_>], count: usize) {
    // SAFETY: the processor has what the function needs.
    unsafe { absorb(lanes, count) }
}

/// One word of all messages.
type Words = __m512i;

#[target_feature(enable = "avx512f,avx512bw")]
fn absorb(lanes: &mut [&mut Message<'_>], count: usize) {
    let mut state = load_states(lanes);
    // An empty lane does what the first one does, and nothing comes of it.
    let first = lanes.first().map_or(&[] as &[Block], |lane| lane.blocks);
    let blocks: [&[Block]; LANES] =
        std::array::from_fn(|at| lanes.get(at).map_or(first, |lane| lane.blocks));
    if blocks.iter().any(|blocks| blocks.len() < count) {
        return;
    }
    for at in 0..count {
        let mut words = load_blocks(&blocks, at);
        let before = state;
        compress(&mut state, &mut words);
        for (word, before) in state.iter_mut().zip(before) {
            *word = _mm512_add_epi32(*word, before);
        }
    }
    store_states(lanes, &state);
}

/// Transposes: register `n` has word `n` of all states.
#[target_feature(enable = "avx512f,avx512bw")]
#[inline]
fn load_states(lanes: &[&mut Message<'_>]) -> [Words; 8] {
    let mut state = [_mm512_setzero_si512(); 8];
    for (at, word) in state.iter_mut().enumerate() {
        let column: [u32; LANES] =
            std::array::from_fn(|lane| lanes.get(lane).map_or(0, |lane| lane.state[at]));
        // SAFETY: as many bytes are read as the array has; they need not be aligned.
        *word = unsafe { _mm512_loadu_si512(column.as_ptr().cast()) };
    }
    state
}

#[target_feature(enable = "avx512f,avx512bw")]
#[inline]
fn store_states(lanes: &mut [&mut Message<'_>], state: &[Words; 8]) {
    for (at, word) in state.iter().enumerate() {
        let mut column = [0_u32; LANES];
        // SAFETY: as many bytes are written as the array has; they need not be aligned.
        unsafe { _mm512_storeu_si512(column.as_mut_ptr().cast(), *word) };
        for (lane, word) in lanes.iter_mut().zip(column) {
            lane.state[at] = word;
        }
    }
}

/// Block `at` of all messages, transposed: register `n` has word `n` of all blocks.
#[target_feature(enable = "avx512f,avx512bw")]
#[inline]
fn load_blocks(blocks: &[&[Block]; LANES], at: usize) -> [Words; 16] {
    // Words are big-endian.
    let swapped = _mm512_set4_epi32(0x0c0d_0e0f, 0x0809_0a0b, 0x0405_0607, 0x0001_0203);
    let mut rows = [_mm512_setzero_si512(); LANES];
    for (row, blocks) in rows.iter_mut().zip(blocks) {
        // SAFETY: as many bytes are read as a block has; they need not be aligned.
        let block = unsafe { _mm512_loadu_si512(blocks[at].as_ptr().cast()) };
        *row = _mm512_shuffle_epi8(block, swapped);
    }
    transpose(&rows)
}

#[target_feature(enable = "avx512f,avx512bw")]
#[inline]
fn transpose(rows: &[Words; 16]) -> [Words; 16] {
    let mut pairs = *rows;
    for at in 0..8 {
        let (upper, lower) = (rows[2 * at], rows[2 * at + 1]);
        pairs[2 * at] = _mm512_unpacklo_epi32(upper, lower);
        pairs[2 * at + 1] = _mm512_unpackhi_epi32(upper, lower);
    }
    // Register 4n + c has in its quarter q the column 4q + c of the rows 4n to 4n + 3.
    let mut fours = pairs;
    for at in 0..4 {
        let own = 4 * at;
        fours[own] = _mm512_unpacklo_epi64(pairs[own], pairs[own + 2]);
        fours[own + 1] = _mm512_unpackhi_epi64(pairs[own], pairs[own + 2]);
        fours[own + 2] = _mm512_unpacklo_epi64(pairs[own + 1], pairs[own + 3]);
        fours[own + 3] = _mm512_unpackhi_epi64(pairs[own + 1], pairs[own + 3]);
    }
    let mut columns = fours;
    for at in 0..4 {
        // Quarters 0 and 2 of two registers, or 1 and 3.
        let even_above = _mm512_shuffle_i32x4::<0x88>(fours[at], fours[4 + at]);
        let odd_above = _mm512_shuffle_i32x4::<0xdd>(fours[at], fours[4 + at]);
        let even_below = _mm512_shuffle_i32x4::<0x88>(fours[8 + at], fours[12 + at]);
        let odd_below = _mm512_shuffle_i32x4::<0xdd>(fours[8 + at], fours[12 + at]);
        columns[at] = _mm512_shuffle_i32x4::<0x88>(even_above, even_below);
        columns[8 + at] = _mm512_shuffle_i32x4::<0xdd>(even_above, even_below);
        columns[4 + at] = _mm512_shuffle_i32x4::<0x88>(odd_above, odd_below);
        columns[12 + at] = _mm512_shuffle_i32x4::<0xdd>(odd_above, odd_below);
    }
    columns
}

/// The 64 rounds of FIPS 180-4, section 6.2.2, for all lanes.
#[target_feature(enable = "avx512f,avx512bw")]
#[inline]
fn compress(state: &mut [Words; 8], words: &mut [Words; 16]) {
    macro_rules! rounds {
        ($($at:literal)*) => {$(
            if $at >= 16 {
                schedule::<$at>(words);
            }
            round(state, words[$at % 16], K[$at]);
        )*};
    }
    rounds!(0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 22 23 24 25 26 27 28 29 30 31);
    rounds!(32 33 34 35 36 37 38 39 40 41 42 43 44 45 46 47 48 49 50 51 52 53 54 55 56 57 58 59 60 61 62 63);
}

/// Word `AT` of the message schedule, in the place of the one that is needed no more.
#[target_feature(enable = "avx512f,avx512bw")]
#[inline]
fn schedule<const AT: usize>(words: &mut [Words; 16]) {
    let (near, far) = (words[(AT + 14) % 16], words[(AT + 1) % 16]);
    let small_0 = _mm512_ternarylogic_epi32::<XOR>(
        _mm512_ror_epi32::<7>(far),
        _mm512_ror_epi32::<18>(far),
        _mm512_srli_epi32::<3>(far),
    );
    let small_1 = _mm512_ternarylogic_epi32::<XOR>(
        _mm512_ror_epi32::<17>(near),
        _mm512_ror_epi32::<19>(near),
        _mm512_srli_epi32::<10>(near),
    );
    words[AT % 16] = _mm512_add_epi32(
        _mm512_add_epi32(words[AT % 16], small_0),
        _mm512_add_epi32(words[(AT + 9) % 16], small_1),
    );
}

#[target_feature(enable = "avx512f,avx512bw")]
#[inline]
#[expect(clippy::many_single_char_names, reason = "the names of FIPS 180-4")]
fn round(state: &mut [Words; 8], word: Words, k: u32) {
    let [a, b, c, d, e, f, g, h] = *state;
    let big_1 = _mm512_ternarylogic_epi32::<XOR>(
        _mm512_ror_epi32::<6>(e),
        _mm512_ror_epi32::<11>(e),
        _mm512_ror_epi32::<25>(e),
    );
    let big_0 = _mm512_ternarylogic_epi32::<XOR>(
        _mm512_ror_epi32::<2>(a),
        _mm512_ror_epi32::<13>(a),
        _mm512_ror_epi32::<22>(a),
    );
    let known = _mm512_add_epi32(
        h,
        _mm512_add_epi32(_mm512_set1_epi32(k.cast_signed()), word),
    );
    let chosen = _mm512_add_epi32(known, _mm512_ternarylogic_epi32::<CHOOSE>(e, f, g));
    let first = _mm512_add_epi32(chosen, big_1);
    let second = _mm512_add_epi32(big_0, _mm512_ternarylogic_epi32::<MAJORITY>(a, b, c));
    *state = [
        _mm512_add_epi32(first, second),
        a,
        b,
        c,
        _mm512_add_epi32(d, first),
        e,
        f,
        g,
    ];
}
