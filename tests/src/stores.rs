//! Object stores for tests: a real server, and one in this process that misbehaves on request.
//!
//! Both are reached with the variables that [`Server::variables`] gives, and have one bucket, [`BUCKET`].

mod answers;
mod blobs;
pub mod scripted;
pub mod seaweed;
pub mod site;
mod wire;

pub use answers::Object;
pub use scripted::{Act, Request, Scripted};
pub use seaweed::Seaweed;
pub use site::Site;

use crate::Cmd;

/// The bucket that every server has.
pub const BUCKET: &str = "test";
/// The id of its access key.
pub const KEY: &str = "testkey";
/// Its secret access key: none may be seen anywhere.
pub const SECRET: &str = "test-secret-0123456789";

/// The same as a key of Azure has it.
pub const AZURE_KEY: &str = "dGVzdC1zZWNyZXQtMDEyMzQ1Njc4OQ==";

/// A server that speaks the protocol of S3; that in this process those of Google and Azure, too.
pub trait Server {
    /// Its address, `http://127.0.0.1:PORT`.
    fn address(&self) -> String;

    /// The variables by which clients reach it.
    fn variables(&self) -> Vec<(&'static str, String)> {
        vec![
            ("AWS_ENDPOINT_URL", self.address()),
            ("AWS_ACCESS_KEY_ID", KEY.to_owned()),
            ("AWS_SECRET_ACCESS_KEY", SECRET.to_owned()),
            ("AWS_REGION", "us-east-1".to_owned()),
            ("STORAGE_EMULATOR_HOST", self.address()),
            ("GS_ACCESS_KEY_ID", KEY.to_owned()),
            ("GS_SECRET_ACCESS_KEY", SECRET.to_owned()),
            ("AZURE_STORAGE_ENDPOINT", self.address()),
            ("AZURE_STORAGE_ACCOUNT", KEY.to_owned()),
            ("AZURE_STORAGE_KEY", AZURE_KEY.to_owned()),
        ]
    }

    /// Lets a command reach it.
    #[must_use]
    fn reached_by(&self, command: Cmd) -> Cmd {
        self.variables().iter().fold(command, |command, (name, value)| command.env(name, value))
    }
}
