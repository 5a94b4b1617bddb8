//! The fenced blocks of a page.

/// A fenced block.
#[derive(Debug)]
pub(crate) struct Block {
    /// The line number of its opening fence.
    pub(crate) line: usize,
    /// The text after the opening fence.
    pub(crate) kind: String,
    pub(crate) text: String,
}

/// A command and the output shown below it.
#[derive(Debug)]
pub(crate) struct Step {
    /// The line number in the block, from 1.
    pub(crate) line: usize,
    pub(crate) command: String,
    pub(crate) output: Vec<String>,
}

pub(crate) fn blocks(page: &str) -> Vec<Block> {
    let mut blocks: Vec<Block> = Vec::new();
    let mut open = false;
    for (number, line) in (1..).zip(page.lines()) {
        match line.strip_prefix("```") {
            Some("") if open => open = false,
            Some(kind) => {
                assert!(!open, "line {number}: nested block");
                open = true;
                blocks.push(Block { line: number, kind: kind.to_owned(), text: String::new() });
            }
            None if open => {
                let text = &mut blocks.last_mut().unwrap().text;
                text.push_str(line);
                text.push('\n');
            }
            None => {}
        }
    }
    assert!(!open, "the last block is not closed");
    blocks
}

impl Block {
    pub(crate) fn steps(&self) -> Vec<Step> {
        let mut steps: Vec<Step> = Vec::new();
        for (line, text) in (1..).zip(self.text.lines()) {
            if let Some(command) = text.strip_prefix("$ ") {
                steps.push(Step { line, command: command.to_owned(), output: Vec::new() });
                continue;
            }
            let step = steps.last_mut().unwrap_or_else(|| panic!("line {}: no command", self.line + line));
            if step.output.is_empty() && step.command.ends_with(['\\', '|']) {
                step.command.push('\n');
                step.command.push_str(text);
            } else {
                step.output.push(text.to_owned());
            }
        }
        steps
    }
}

#[test]
fn sessions_are_split_into_steps() {
    let page = "a\n```console\n$ one |\n  two\nout\nmore\n$ three\n```\n```toml\n[a]\n```\n";
    let blocks = blocks(page);
    assert_eq!((blocks.len(), blocks[1].kind.as_str(), blocks[1].text.as_str()), (2, "toml", "[a]\n"));
    let steps = blocks[0].steps();
    assert_eq!((blocks[0].line, steps.len(), steps[0].line, steps[1].line), (2, 2, 1, 5));
    assert_eq!(
        (steps[0].command.as_str(), &*steps[0].output),
        ("one |\n  two", ["out".into(), "more".into()].as_slice())
    );
    assert_eq!((steps[1].command.as_str(), steps[1].output.len()), ("three", 0));
}
