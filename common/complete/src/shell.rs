//! The shells, and the scripts that make them ask a tool.

/// A shell that the tools complete in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shell {
    /// GNU bash, from 4.4.
    Bash,
    /// zsh.
    Zsh,
    /// fish, from 3.1.
    Fish,
}

impl Shell {
    /// Returns the shell of this name.
    pub(crate) fn named(name: &str) -> Option<Self> {
        match name {
            "bash" => Some(Self::Bash),
            "zsh" => Some(Self::Zsh),
            "fish" => Some(Self::Fish),
            _ => None,
        }
    }

    /// Returns whether the shell itself selects completions, by its user's rules; the other shells insert what
    /// the tool prints.
    pub(crate) fn is_choosy(self) -> bool {
        self != Self::Bash
    }

    /// Returns the script of a tool.
    pub(crate) fn script(self, tool: &str) -> String {
        let script = match self {
            Self::Bash => include_str!("shells/bash"),
            Self::Zsh => include_str!("shells/zsh"),
            Self::Fish => include_str!("shells/fish"),
        };
        script.replace("TOOL", tool).replace("NAME", &tool.replace('-', "_"))
    }
}
