//! Messages between machines and services (prost only), and their checked conversions to types of
//! `content`.

pub mod pb;
