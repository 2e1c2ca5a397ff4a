//! The root of the mount: every digest that is asked for, and what this machine holds.

use std::ffi::OsString;
use std::sync::Arc;
use std::time::Instant;

use fuser::FileType;
use zeroshare_content::TreeId;

use crate::answers::Answer;
use crate::arrival;
use crate::by_name;
use crate::caller;
use crate::listing;
use crate::patience::Hope;
use crate::questions::ask;
use crate::shared::Shared;
use crate::table::Content;

/// What is known of a tree without asking anybody.
pub(crate) fn known(shared: &Shared, id: TreeId) -> Option<Answer> {
    let path = shared.held().path(&id).map(ToOwned::to_owned);
    if let Some(path) = path {
        let shown = shared.table().show(id, Content::Link(path));
        return Some(shown.map_or(Answer::Nobody, Answer::Shown));
    }
    if !zeroshare_content::ContentId::Tree(id).travels() {
        return Some(Answer::Nobody);
    }
    let answer = shared.answers().find(Instant::now(), &id)?;
    match answer {
        // It may have had to make room.
        Answer::Shown(number) if shared.table().find(number).is_none() => None,
        Answer::Shown(_) | Answer::Nobody => Some(answer),
    }
}

/// Whether lookups of what nobody has may have to wait for somebody who gets it.
pub(crate) fn may_be_got(shared: &Shared, id: TreeId) -> bool {
    !shared.config.hold.is_zero() && zeroshare_content::ContentId::Tree(id).travels()
}

/// Finds a tree among the neighbours, for as long as this caller may wait.
///
/// What nobody has it may wait for longer, where somebody gets it.
pub(crate) async fn find(shared: Arc<Shared>, id: TreeId, thread: u32) -> Answer {
    let process = caller::process_of(thread);
    let held = arrival::may_be_held(&shared, process);
    let course = held.and_then(|held| Some((held, arrival::join(&shared, id)?)));
    let Some((held, course)) = course else {
        return match known(&shared, id) {
            Some(answer) => answer,
            None => ask_patiently(&shared, id, process).await,
        };
    };
    if course.is_taken_by(held) {
        return Answer::Nobody;
    }
    let finding = async {
        match ask_patiently(&shared, id, process).await {
            Answer::Nobody => arrival::hold(&shared, id, held, &course).await,
            answer @ Answer::Shown(_) => answer,
        }
    };
    tokio::select! {
        answer = finding => answer,
        () = caller::killed(thread) => Answer::Nobody,
    }
}

async fn ask_patiently(shared: &Arc<Shared>, id: TreeId, process: u32) -> Answer {
    let hope = if shared.neighbours().has(&id) {
        Hope::Listed
    } else {
        Hope::None
    };
    let turn = shared.patience().begin(Instant::now(), process, hope);
    let Some(turn) = turn else {
        return in_use(shared, id).unwrap_or(Answer::Nobody);
    };
    let answer = match ask(shared, id) {
        Some(mut asked) => {
            let heard = tokio::time::timeout(turn.limit, asked.wait_for(Option::is_some)).await;
            match heard {
                Ok(Ok(answer)) => *answer,
                Ok(Err(_)) | Err(_) => None,
            }
        }
        None => None,
    };
    let now = Instant::now();
    shared.patience().end(now, &turn);
    if hope == Hope::Listed && matches!(answer, Some(Answer::Shown(_))) {
        shared.patience().kept(&turn);
    }
    if answer.is_none()
        && let Some(used) = in_use(shared, id)
    {
        return used;
    }
    answer.unwrap_or_else(|| {
        // The next one does not wait, unless an answer comes after all.
        let mut answers = shared.answers();
        answers.find(now, &id).unwrap_or_else(|| {
            answers.handle(now, id, Answer::Nobody);
            Answer::Nobody
        })
    })
}

/// A tree that somebody runs a program of: it is shown as before while nobody has said that it is gone.
fn in_use(shared: &Shared, id: TreeId) -> Option<Answer> {
    if !shared.handles().uses(&id) {
        return None;
    }
    shared.table().shown(&id).map(Answer::Shown)
}

/// The names of all trees that are here in full, those that neighbours share where that is wanted, and what else there is.
///
/// What neighbours share is asked for if nobody did lately. May be dropped midway.
pub(crate) async fn names(shared: &Arc<Shared>) -> Vec<(OsString, FileType)> {
    if shared.config.list_neighbours {
        listing::hear(shared).await;
    }
    names_known(shared)
}

/// As [`names`], for who must not wait; `None` where that takes time.
pub(crate) fn names_at_once(shared: &Shared) -> Option<Vec<(OsString, FileType)>> {
    let is_known = !shared.config.list_neighbours || shared.neighbours().is_fresh(Instant::now());
    is_known.then(|| names_known(shared))
}

fn names_known(shared: &Shared) -> Vec<(OsString, FileType)> {
    let told = shared.neighbours().trees();
    let held = shared.held();
    let links = held.names().into_iter();
    let mut names: Vec<_> = links.map(|name| (name, FileType::Symlink)).collect();
    let others = told.iter().filter(|tree| held.path(tree).is_none());
    names.extend(others.map(|tree| (tree.to_string().into(), FileType::Directory)));
    drop(held);
    if !shared.feeds.is_empty(Instant::now()) {
        names.push((by_name::NAME.into(), FileType::Directory));
    }
    names
}
