//! The requests that programs of a node receive, as JSON.

use serde::Serialize;
use zeek_bridge::management::Dispatch;

/// A dispatch, as a program receives it.
#[derive(Debug, Serialize)]
pub(super) struct Request<'a> {
    node: &'a str,
    peer: String,
    reqid: &'a str,
    action: &'a str,
    args: &'a [String],
}

impl<'a> Request<'a> {
    pub(super) fn new(node: &'a str, dispatch: &'a Dispatch) -> Self {
        Request {
            node,
            peer: dispatch.peer.to_string(),
            reqid: &dispatch.reqid,
            action: &dispatch.action,
            args: &dispatch.args,
        }
    }
}
