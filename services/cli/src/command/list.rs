//! `zeroshare list`: what this machine holds.

use std::fmt;

use serde::Serialize;
use zeroshare_wire::pb::store::v1::{HeldContent, ListContentRequest};

use crate::exit::Exit;
use crate::failure::Failure;
use crate::reach::Needs;
use crate::render::{Page, Report, Table, words};
use crate::session::Session;
use crate::words::of_status;

#[derive(Debug, Serialize)]
struct ListReport {
    contents: Vec<HeldDocument>,
}

/// A tree that is here, whole or in part.
#[derive(Debug, Serialize)]
struct HeldDocument {
    content_id: String,
    path: Option<String>,
    size_bytes: u64,
    verify_time: Option<String>,
    offered: bool,
    held_pieces: u32,
    total_pieces: u32,
}

impl From<HeldContent> for HeldDocument {
    fn from(held: HeldContent) -> Self {
        Self {
            verify_time: words::moment(held.verify_time.as_ref()),
            content_id: held.content_id,
            path: (!held.path.is_empty()).then_some(held.path),
            size_bytes: held.size_bytes,
            offered: held.offered,
            held_pieces: held.held_pieces,
            total_pieces: held.total_pieces,
        }
    }
}

impl HeldDocument {
    fn state(&self) -> String {
        if self.path.is_none() {
            let percent = u64::from(self.held_pieces) * 100 / u64::from(self.total_pieces.max(1));
            format!("{percent} % here")
        } else if self.offered {
            "offered".to_owned()
        } else if self.verify_time.is_some() {
            "kept to itself".to_owned()
        } else {
            "not verified".to_owned()
        }
    }
}

impl Report for ListReport {
    fn write(&self, page: &mut Page) -> fmt::Result {
        let mut table = Table::new(&["ID", "SIZE", "STATE", "PATH"]);
        for held in &self.contents {
            let path = held.path.clone().unwrap_or_default();
            table.row([
                held.content_id.clone(),
                words::size(held.size_bytes),
                held.state(),
                path,
            ]);
        }
        table.write(page)
    }
}

/// Lists all that the store knows of.
pub async fn run(session: &Session) -> Result<Exit, Failure> {
    let services = session.services(Needs::STORE)?;
    let mut store = services.store();
    let mut contents = Vec::new();
    let mut page_token = String::new();
    loop {
        let request = ListContentRequest { page_token };
        let page = store
            .list_content(request)
            .await
            .map_err(|status| of_status("the store", &status))?;
        let page = page.into_inner();
        contents.extend(page.contents.into_iter().map(HeldDocument::from));
        page_token = page.next_page_token;
        if page_token.is_empty() {
            break;
        }
    }
    session.output.report(&ListReport { contents })?;
    Ok(Exit::Done)
}
