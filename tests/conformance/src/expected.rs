use std::collections::BTreeMap;

use anyhow::Context as _;
use data_encoding::BASE64;
use serde_json::Value;
use zeroshare_content::Algorithm;

/// What 0install 2.18 said about one tree under one algorithm.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Expected {
    /// It wrote a manifest.
    Written(Written),
    /// It refused the tree.
    Refused,
}

/// What 0install 2.18 made of a tree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Written {
    /// Its digest, spelled as the algorithm does.
    pub id: String,
    /// Its manifest; left out where it is long.
    pub manifest: Option<Vec<u8>>,
    /// Whether `0install store add` took it.
    pub storable: bool,
}

/// Reads what 0install said about every vector, by name and algorithm.
pub fn expected() -> anyhow::Result<BTreeMap<String, BTreeMap<Algorithm, Expected>>> {
    let text = include_str!("../vectors/expected.json");
    let trees: BTreeMap<String, BTreeMap<String, Value>> = serde_json::from_str(text)?;
    let mut expected = BTreeMap::new();
    for (name, by_algorithm) in trees {
        let mut outcomes = BTreeMap::new();
        // Written down once, since sha256 and sha256new have one manifest.
        let of_sha256 = by_algorithm
            .get("sha256")
            .context("sha256 is missing")?
            .clone();
        for (algorithm, mut outcome) in by_algorithm {
            if algorithm == "sha256new" {
                outcome["manifest_b64"] = of_sha256["manifest_b64"].clone();
            }
            outcomes.insert(
                algorithm.parse()?,
                read(&outcome).with_context(|| name.clone())?,
            );
        }
        expected.insert(name, outcomes);
    }
    Ok(expected)
}

fn read(outcome: &Value) -> anyhow::Result<Expected> {
    if outcome.get("error").is_some() {
        return Ok(Expected::Refused);
    }
    let encoded = outcome.get("manifest_b64").and_then(Value::as_str);
    let manifest = encoded
        .map(|encoded| BASE64.decode(encoded.as_bytes()))
        .transpose()?;
    Ok(Expected::Written(Written {
        id: outcome["id"].as_str().context("no id")?.to_owned(),
        manifest,
        storable: outcome["store_add"].as_bool().context("no store_add")?,
    }))
}
