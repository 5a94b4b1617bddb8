//! PEM text, split into its blocks.
//!
//! Accepts two common defects:
//!
//! - a byte order mark before a BEGIN line, as Windows editors write it;
//! - a BEGIN line that follows an END line without a line break, as after `cat a.pem b.pem` if `a.pem` has no final line
//!   break.
//!
//! Each block has its line and label, so that a caller can report the blocks that it does not use. The content of a block
//! is decoded with rustls-pemfile. That crate does not split the text here, because it silently skips blocks with unknown
//! labels and reports no lines.

const BEGIN: &str = "-----BEGIN ";
const END: &str = "-----END ";
const DASHES: &str = "-----";
const LABEL: &str = "CERTIFICATE";

/// The text of a PEM file.
pub(super) struct Pem(String);

/// One block, from its BEGIN line to its END line.
#[derive(Debug)]
pub(super) struct Block {
    /// The line of BEGIN, counted from 1.
    pub(super) line: usize,
    /// The label in the BEGIN line, such as `CERTIFICATE`.
    pub(super) label: String,
    /// Whether BEGIN is on the same line as the END of the previous block. OpenSSL rejects such a file.
    pub(super) is_joined: bool,
    body: String,
    fault: Option<String>,
}

impl Pem {
    pub(super) fn new(bytes: &[u8]) -> Self {
        // A lossy conversion is enough: the blocks are ASCII, and text between them is ignored.
        Pem(String::from_utf8_lossy(bytes).into_owned())
    }

    /// Splits the text into blocks. If a block is malformed, its `fault` is set, and the blocks after it are still found.
    pub(super) fn blocks(&self) -> Vec<Block> {
        let mut blocks = Vec::new();
        let mut open: Option<Block> = None;
        for (number, line) in (1..).zip(self.0.lines()) {
            let mut rest = line.trim_start_matches('\u{feff}').trim();
            let mut is_joined = false;
            // One line may contain the END of one block and the BEGIN of the next block.
            loop {
                if let Some(label) = rest.strip_prefix(BEGIN) {
                    if let Some(block) = open.take() {
                        blocks.push(block.broken("it has no END line"));
                    }
                    let (label, after, is_complete) = marker(label);
                    let block = Block { line: number, label, is_joined, body: String::new(), fault: None };
                    if !is_complete {
                        blocks.push(block.broken("its BEGIN line does not end in five dashes"));
                        break;
                    }
                    open = Some(block);
                    rest = after;
                }
                let Some(mut block) = open.take() else { break };
                let Some((body, label)) = rest.split_once(END) else {
                    block.body.push_str(rest);
                    block.body.push('\n');
                    open = Some(block);
                    break;
                };
                block.body.push_str(body);
                let (label, after, _) = marker(label);
                let is_same = label == block.label;
                blocks.push(if is_same {
                    block
                } else {
                    block.broken(&format!("its END line has the label {label}"))
                });
                (rest, is_joined) = (after, true);
            }
        }
        blocks.extend(open.map(|block| block.broken("it has no END line")));
        blocks
    }
}

/// Splits the text after BEGIN or END. Returns the label, the rest of the line, and whether there are dashes between them.
fn marker(text: &str) -> (String, &str, bool) {
    let (label, rest, is_complete) = match text.split_once(DASHES) {
        Some((label, rest)) => (label, rest, true),
        None => (text.trim_end_matches(['-', ' ']), "", false),
    };
    // The label is logged, so it must not contain control characters.
    (label.escape_debug().collect(), rest, is_complete)
}

impl Block {
    fn broken(self, fault: &str) -> Self {
        Block { fault: Some(fault.to_owned()), ..self }
    }

    /// Returns whether the block is a private key in any format.
    pub(super) fn is_key(&self) -> bool {
        self.label.ends_with("PRIVATE KEY")
    }

    /// Returns whether the block is encrypted in OpenSSL's traditional format, with headers inside the block (RFC
    /// 1421).
    pub(super) fn has_legacy_encryption(&self) -> bool {
        self.body.contains("Proc-Type: 4,ENCRYPTED")
    }

    /// Returns the decoded content.
    ///
    /// # Errors
    /// Returns the line, the label and the defect of the block.
    pub(super) fn der(&self) -> Result<Vec<u8>, String> {
        let broken = |what: &str| format!("line {}, {}: {what}", self.line, self.label);
        if let Some(fault) = &self.fault {
            return Err(broken(fault));
        }
        let lines = self.body.lines().filter(|line| !line.contains(':'));
        let digits: String = lines.flat_map(str::split_ascii_whitespace).collect();
        // rustls-pemfile skips blocks with an unknown label. Therefore, the block is passed to it with the label of a
        // certificate.
        let section = format!("{BEGIN}{LABEL}{DASHES}\n{digits}\n{END}{LABEL}{DASHES}\n");
        match rustls_pemfile::certs(&mut section.as_bytes()).next() {
            Some(Ok(der)) => Ok(der.to_vec()),
            Some(Err(_)) | None => Err(broken("it is not valid base64")),
        }
    }

    /// Returns the text of this block as a PEM file that OpenSSL can read.
    pub(super) fn to_pem(&self) -> String {
        format!("{BEGIN}{label}-----\n{}\n{END}{label}-----\n", self.body.trim(), label = self.label)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The line, the label, whether the block is joined, and the content.
    type Seen = (usize, String, bool, Result<Vec<u8>, String>);

    fn seen(text: &str) -> Vec<Seen> {
        let blocks = Pem::new(text.as_bytes()).blocks();
        blocks
            .into_iter()
            .map(|block| (block.line, block.label.clone(), block.is_joined, block.der()))
            .collect()
    }

    fn good(line: usize, label: &str, is_joined: bool, der: &[u8]) -> Seen {
        (line, label.into(), is_joined, Ok(der.to_vec()))
    }

    #[test]
    fn blocks_are_found_between_other_text() {
        let text = "notes: -----BEGIN A-----\n\u{feff}-----BEGIN A-----\r\nAQ\r\nI=\r\n-----END A-----\n  -----BEGIN B B-----\n\
                    Proc-Type: x\n\nAw==\n  -----END B B-----\n# -----BEGIN C-----\n-----END C-----\n";
        assert_eq!(seen(text), [good(2, "A", false, &[1, 2]), good(6, "B B", false, &[3])]);
        assert_eq!(seen(""), []);
    }

    #[test]
    fn a_block_may_follow_without_a_line_break() {
        let text = "-----BEGIN A-----\nAQ==\n-----END A----------BEGIN B-----\nAg==\n-----END B-----";
        assert_eq!(seen(text), [good(1, "A", false, &[1]), good(3, "B", true, &[2])]);
        let one_line = "-----BEGIN A-----AQ==-----END A----------BEGIN B-----Ag==-----END B-----";
        assert_eq!(seen(one_line), [good(1, "A", false, &[1]), good(1, "B", true, &[2])]);
    }

    #[test]
    fn an_error_names_the_line_of_the_block() {
        for (text, fault) in [
            ("\n-----BEGIN A-----\nAQ==\n", "line 2, A: it has no END line"),
            ("-----BEGIN A-----\n-----BEGIN B-----\nAg==\n-----END B-----", "line 1, A: it has no END line"),
            ("-----BEGIN A----\nAQ==\n", "line 1, A: its BEGIN line does not end in five dashes"),
            ("-----BEGIN A-----\nAQ==\n-----END B-----\n", "line 1, A: its END line has the label B"),
            ("-----BEGIN A-----\nA?==\n-----END A-----\n", "line 1, A: it is not valid base64"),
        ] {
            assert_eq!(seen(text)[0].3, Err(fault.to_owned()), "{text}");
        }
    }

    #[test]
    fn to_pem_returns_the_text_of_a_block_unchanged() {
        let text = "-----BEGIN A-----\nProc-Type: 4,ENCRYPTED\nDEK-Info: x\n\nAQ==\n-----END A-----\n";
        let [block] = &Pem::new(["text\n\u{feff}", text].concat().as_bytes()).blocks()[..] else { panic!() };
        assert!(block.has_legacy_encryption());
        assert_eq!(block.to_pem(), text);
    }
}
