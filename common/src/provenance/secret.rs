//! The names and the shapes of secrets. This is the only table of them, which run-dir(5) shows to users;
//! `redact` removes the secrets from records and reports.

/// The verdict about a value, by its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Verdict {
    /// It is no secret.
    Plain,
    /// It is secret if it looks random.
    IfRandom,
    /// It is secret.
    Secret,
    /// People choose it, so that even a number is secret.
    Password,
}

/// Last words of a name, such as `--hub_token` and `sessionCookie`, whose value is secret.
const SECRETS: &str = "\
    apikey auth authorization bearer cookie cookies credential credentials creds jwt pat secret secrets \
    token";

/// Last words of a name whose value is a password.
const PASSWORDS: &str = "pass passphrase passwd password passwords pw pwd";

/// Endings of a last word that is secret, too: `PGPASSWORD`, `hfaccesstoken`.
const ENDS: &str = "\
    accesskey accesstoken apikey apitoken authkey authtoken passphrase passwd password privatekey pwd \
    secretkey sshpass";

/// Words before `key` that also make `keys`, or a part of a path, secret: `api_keys`, `fs.s3a.secret.key`.
/// After any other word, `key` is secret unless the word is in [`PLAIN_KEYS`].
const KEYS: &str = "access account api app auth encryption master private secret signing";

/// Services, in the part of a name above `key`: `wandb.key`.
const SERVICES: &str = "anthropic aws azure comet github gitlab hf huggingface neptune openai slack wandb";

/// Words before `key` that indicate data: `sort_key`, `label_key`.
const PLAIN_KEYS: &str = "\
    action agent answer attention attn audio batch best bucket cache camera caption category checkpoint \
    chosen ckpt class code column completion config content context conversation data dataset date dedup \
    depth dict doc document domain dropout ema embed embedding embeddings env episode eval example feature \
    features field file filename filter foreign frame goal group head hidden hot id image images img index \
    init input inputs instruction item job join json kv label labels lang language latent layer lmdb log \
    logits lookup loss map mask message messages metric metrics model modality module monitor name natural \
    noise object obs observation optimizer order output outputs param params partition path position \
    prediction preference primary prng prompt public query question random rank record ref rejected response \
    reward rng role row run sample score seed segment sequence shard shuffle sort source speaker split state \
    step summary tag target task teacher tensor test text time timestamp title train unique val value video \
    weight weights";

/// Words before `token` that indicate text: `pad_token`.
const PLAIN_TOKENS: &str = "\
    add additional audio begin beginning blank bom bos boi cls concept content cont control decoder \
    delimiter end ending eod eoi eom eos eot extra fim final first forced global image init initial \
    initializer input instance lang language last mask max memory middle min modifier modality n new next no \
    null num object oov output pad padding per placeholder pool prefix prompt query register sentence sep \
    separator seq sequence sos sot source special speech start stop subword suffix target task text think \
    thinking trigger unk unknown video vision visual word";

/// Words before `pass` and `pat` that indicate something other than a credential: `first_pass`, `file_pat`.
const PLAIN_OTHERS: &str = "\
    all backward band by ckpt file first forward glob high low multi name num one path regex second single \
    two";

/// Words before `signature` that indicate a signed request; any other signature is secret if it looks random.
const SIGNERS: &str = "amz goog";

/// Words that may follow the decisive word: `HF_TOKEN_READ`.
const SCOPES: &str = "admin dev prod read ro rw staging write";

/// Words that make a variable secret at any position, such as `HF_TOKEN_ACME`, unless its last word is one of
/// the second list.
const VARIABLES: &str = "apikey passwd password secret token";
const NO_VALUES: &str = "\
    age budget column count dim dir embedding env expiry file header id ids index len length limit name num \
    path prefix rate size stdin suffix ttl type uri url var";

/// Names of objects whose values are all secret: `secrets.hub`.
const HOLDERS: &str = "credential credentials creds passwords secret secrets";

/// Names that are secret in the query of a URL.
const QUERY: &str = "key sig signature";

/// First words of options without a value: `--use-auth-token`.
const FLAGS: &str = "\
    allow ask disable enable has is need no print require reset rotate show skip use want with without";

/// Schemes that may precede a secret in a header.
pub(super) const SCHEMES: &str = "apikey basic bearer digest negotiate oauth token";

/// HTTP headers whose whole value is secret.
pub(super) const HEADERS: &str = "authorization cookie proxy-authorization set-cookie";

/// Options whose value is `user:password`; for containers, the value is a user and a group.
pub(super) const USERS: &str = "-u -U --user --proxy-user";

/// Programs in which `-u` or `--user` means something else, until one of [`PROGRAMS`] is named.
pub(super) const OTHER_USERS: &str = "date docker git install nerdctl podman rsync sort";

/// Pairs of a program and one of its options or words, after which a secret follows.
pub(super) const PROGRAMS: [(&str, &str); 7] = [
    ("curl", "-b"),
    ("http", "-a"),
    ("login", "-p"),
    ("redis-cli", "-a"),
    ("sshpass", "-p"),
    ("wandb", "login"),
    ("wandb", "--relogin"),
];

/// Programs whose option `-p` is joined with the secret.
pub(super) const ATTACHED: &str = "mariadb mysql mysqldump sshpass";

/// URLs that let everybody who knows them write.
pub(super) const WEBHOOKS: [&str; 8] = [
    "hooks.slack.com/services/",
    "hooks.slack.com/workflows/",
    "hooks.slack.com/triggers/",
    "discord.com/api/",
    "discordapp.com/api/",
    "api.telegram.org/bot",
    "webhook.office.com/webhookb2/",
    "outlook.office.com/webhook/",
];

/// Parts of texts that may lead to a secret, in any case: a part of each word above, or an escape that may hide
/// one.
pub(super) const STEMS: [&str; 22] = [
    "key",
    "token",
    "secret",
    "pass",
    "pw",
    "auth",
    "cookie",
    "cred",
    "jwt",
    "pat",
    "sig",
    "bearer",
    "-u",
    "curl",
    "login",
    "redis-cli",
    "http",
    "mariadb",
    "mysql",
    "://",
    "\\u",
    "\\/",
];

/// Frequent words that contain a stem, but have another meaning.
pub(super) const NO_STEMS: [&str; 5] = ["path", "patc", "pati", "patt", "tokeniz"];

/// The shape of a secret that is recognised without a name.
pub(super) struct Shape {
    /// Its beginning.
    pub(super) start: &'static str,
    /// Minimum number of characters after the beginning.
    pub(super) least: usize,
    /// Allowed characters besides letters and digits.
    pub(super) also: &'static str,
    /// Whether ordinary words have this shape, so that some of the characters must look random.
    pub(super) is_random: bool,
}

const fn shape(start: &'static str, least: usize, also: &'static str, is_random: bool) -> Shape {
    Shape { start, least, also, is_random }
}

/// The shapes; private keys in PEM are recognised, too. Beginnings of ordinary words (`as-`, `sk_`) are left to
/// the names, because each such word would require a check of its whole text.
pub(super) const SHAPES: [Shape; 97] = [
    shape("hf_", 20, "", true),               // Hugging Face
    shape("api_org_", 20, "", true),          // Hugging Face, of an organization
    shape("sk-", 16, "-_", true),             // OpenAI, Anthropic and others
    shape("sk_live_", 16, "", false),         // Stripe
    shape("sk_test_", 16, "", false),         // Stripe
    shape("rk_live_", 16, "", false),         // Stripe
    shape("rk_test_", 16, "", false),         // Stripe
    shape("whsec_", 24, "+/=", true),         // Stripe, webhooks
    shape("gsk_", 20, "", true),              // Groq
    shape("nvapi-", 20, "-_", false),         // NVIDIA
    shape("pplx-", 20, "", true),             // Perplexity
    shape("r8_", 20, "", true),               // Replicate
    shape("xai-", 20, "", true),              // xAI
    shape("csk-", 32, "", true),              // Cerebras
    shape("fw_", 20, "", true),               // Fireworks
    shape("tgp_v1_", 20, "-_", true),         // Together
    shape("jina_", 32, "-_", true),           // Jina
    shape("llx-", 32, "-_", true),            // LlamaIndex
    shape("tvly-", 20, "-_", true),           // Tavily
    shape("pcsk_", 32, "_", true),            // Pinecone
    shape("lsv2_pt_", 32, "_", false),        // LangSmith
    shape("lsv2_sk_", 32, "_", false),        // LangSmith
    shape("rpa_", 32, "", true),              // RunPod
    shape("KGAT_", 32, "", false),            // Kaggle
    shape("wandb_v1_", 20, "_", false),       // Weights & Biases
    shape("eyJhcGlf", 40, "-_=+/", false),    // Neptune
    shape("pnu_", 32, "", true),              // Prefect
    shape("dapi", 32, "-", true),             // Databricks
    shape("dose", 32, "", true),              // Databricks, of a service
    shape("ghp_", 20, "", false),             // GitHub
    shape("gho_", 20, "", false),             // GitHub
    shape("ghu_", 20, "", false),             // GitHub
    shape("ghs_", 20, "", false),             // GitHub
    shape("ghr_", 20, "", false),             // GitHub
    shape("github_pat_", 20, "_", false),     // GitHub
    shape("glpat-", 16, "-_.", false),        // GitLab
    shape("gldt-", 16, "-_.", false),         // GitLab, deploy
    shape("glptt-", 16, "-_.", false),        // GitLab, trigger
    shape("glrt-", 16, "-_.", false),         // GitLab, runner
    shape("glcbt-", 16, "-_.", false),        // GitLab, job
    shape("glft-", 16, "-_.", false),         // GitLab, feed
    shape("glagent-", 16, "-_.", false),      // GitLab, agent
    shape("gloas-", 16, "-_.", false),        // GitLab, application
    shape("ATATT3", 40, "-_=", false),        // Atlassian
    shape("ATBB", 24, "-_=", true),           // Bitbucket
    shape("xoxb-", 10, "-", false),           // Slack
    shape("xoxp-", 10, "-", false),           // Slack
    shape("xoxa-", 10, "-", false),           // Slack
    shape("xoxr-", 10, "-", false),           // Slack
    shape("xoxs-", 10, "-", false),           // Slack
    shape("xoxc-", 10, "-", false),           // Slack
    shape("xoxd-", 10, "-%", false),          // Slack
    shape("xoxe-", 10, "-", false),           // Slack
    shape("xoxe.", 10, "-.", false),          // Slack
    shape("xapp-", 10, "-", false),           // Slack
    shape("AKIA", 16, "", false),             // AWS
    shape("ASIA", 16, "", false),             // AWS
    shape("ABSK", 60, "+/=", false),          // AWS, Bedrock
    shape("LTAI", 16, "", true),              // Alibaba
    shape("AIza", 30, "-_", false),           // Google
    shape("GOCSPX-", 20, "-_", false),        // Google
    shape("ya29.", 20, "-_", false),          // Google
    shape("1//0", 40, "-_", true),            // Google, refresh
    shape("npm_", 20, "", true),              // npm
    shape("pypi-", 32, "-_", false),          // PyPI
    shape("rubygems_", 32, "", true),         // RubyGems
    shape("dckr_pat_", 20, "-_", false),      // Docker
    shape("dckr_oat_", 20, "-_", false),      // Docker, of an organization
    shape("AKCp", 60, "", false),             // JFrog
    shape("dop_v1_", 20, "", false),          // DigitalOcean
    shape("doo_v1_", 20, "", false),          // DigitalOcean
    shape("dor_v1_", 20, "", false),          // DigitalOcean
    shape("nfp_", 32, "", true),              // Netlify
    shape("sbp_", 32, "", true),              // Supabase
    shape("pscale_tkn_", 32, "-_=.", true),   // PlanetScale
    shape("pscale_pw_", 32, "-_=.", true),    // PlanetScale
    shape("hvs.", 20, "-_.", true),           // Vault
    shape("hvb.", 20, "-_.", true),           // Vault, batch
    shape("dp.pt.", 32, "", true),            // Doppler
    shape("dp.st.", 32, "-_.", true),         // Doppler, service
    shape("pul-", 32, "", true),              // Pulumi
    shape("tskey-", 16, "-", true),           // Tailscale
    shape("ops_eyJ", 40, "-_=+/", false),     // 1Password
    shape("AGE-SECRET-KEY-1", 50, "", false), // age
    shape("glsa_", 32, "_", true),            // Grafana
    shape("glc_", 32, "+/=", true),           // Grafana
    shape("sntrys_", 32, "+/=_", true),       // Sentry
    shape("sntryu_", 32, "", true),           // Sentry
    shape("NRAK-", 20, "", true),             // New Relic
    shape("PMAK-", 32, "-", true),            // Postman
    shape("lin_api_", 32, "", true),          // Linear
    shape("ntn_", 32, "", true),              // Notion
    shape("secret_", 32, "", true),           // Notion, Lambda
    shape("shpat_", 32, "", true),            // Shopify
    shape("SG.", 32, "-_.", true),            // SendGrid
    shape("xkeysib-", 32, "-", true),         // Brevo
    shape("eyJ", 30, "-_.", false),           // a JSON web token
];

/// Returns whether a list of words contains a word, ignoring case.
pub(super) fn has(list: &str, word: &str) -> bool {
    list.split(' ').any(|listed| listed.eq_ignore_ascii_case(word))
}

/// Returns whether an option takes no value, by its first word: `--use-auth-token`.
pub(super) fn is_flag(option: &str) -> bool {
    words(option).first().is_some_and(|first| has(FLAGS, first))
}

/// Returns whether a name is secret in the query of a URL, though not elsewhere.
pub(super) fn is_secret_in_query(name: &str) -> bool {
    has(QUERY, name)
}

/// Returns the verdict about a value by its name: secret for `--api-key`, `HF_TOKEN` and `db.password`, but not
/// for `num_tokens` and `pad_token`. A dot, or any other character outside words, separates the parts of a
/// name.
pub(super) fn verdict(name: &str) -> Verdict {
    let is_between = |c: char| !c.is_alphanumeric() && c != '_' && c != '-';
    let mut parts = name.rsplit(is_between).filter(|part| !part.is_empty());
    let Some(last) = parts.next() else { return Verdict::Plain };
    let above = parts.clone().next().map(words);
    let own = of_part(last, above.as_ref().and_then(|words| words.last().copied()));
    match own {
        Verdict::Plain if parts.any(|part| has(HOLDERS, part)) => Verdict::Secret,
        own => own,
    }
}

/// Returns the verdict about a part of a name. `above` is the last word of the part before it.
fn of_part(part: &str, above: Option<&str>) -> Verdict {
    let mut words = words(part);
    while words.len() > 1 && words.last().is_some_and(|last| has(SCOPES, last)) {
        words.pop();
    }
    let Some(last) = words.pop() else { return Verdict::Plain };
    let before = words.last().copied();
    let is_before = |list: &str| before.is_some_and(|word| has(list, word));
    let secret = |is_plain: bool| if is_plain { Verdict::Plain } else { Verdict::Secret };
    match last.to_ascii_lowercase().as_str() {
        "key" if before.is_none() && !above.is_some_and(|word| has(KEYS, word) || has(SERVICES, word)) => {
            Verdict::IfRandom
        }
        "key" => secret(is_before(PLAIN_KEYS)),
        "keys" | "tokens" => secret(!is_before(KEYS)),
        "id" => secret(!(is_before("key") && words.iter().rev().nth(1).is_some_and(|word| has(KEYS, word)))),
        "signature" | "sig" if is_before(SIGNERS) => Verdict::Secret,
        "signature" | "sig" => Verdict::IfRandom,
        "token" if is_before(PLAIN_TOKENS) => Verdict::Plain,
        "pass" | "pat" if is_before(PLAIN_OTHERS) => Verdict::Plain,
        word if has(PASSWORDS, word) => Verdict::Password,
        word if has(SECRETS, word) || ENDS.split(' ').any(|end| word.ends_with(end)) => Verdict::Secret,
        _ => secret(!is_variable(part) || has(NO_VALUES, last) || !holds_word(&words)),
    }
}

fn is_variable(name: &str) -> bool {
    name.bytes().all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit() || byte == b'_')
}

/// Returns whether one of the words of a variable makes it secret.
fn holds_word(words: &[&str]) -> bool {
    let before = |at: usize| at.checked_sub(1).and_then(|at| words.get(at));
    let is_plain = |at: usize| before(at).is_some_and(|word| has(PLAIN_TOKENS, word));
    words.iter().enumerate().any(|(at, word)| has(VARIABLES, word) && !is_plain(at))
}

/// Splits a name at punctuation, and before capital letters in `camelCase` and `HFToken`. Digits at the end of
/// a word do not belong to it.
pub(super) fn words(part: &str) -> Vec<&str> {
    let mut words = Vec::new();
    let mut start = 0;
    let mut before = [' '; 2];
    for (at, c) in part.char_indices() {
        let [second, last] = before;
        let ends_capitals = c.is_lowercase() && last.is_uppercase() && second.is_uppercase();
        if ends_capitals {
            let capital = at - last.len_utf8();
            words.push(bare(&part[start..capital]));
            start = capital;
        } else if !c.is_alphanumeric() || c.is_uppercase() && last.is_lowercase() {
            words.push(bare(&part[start..at]));
            start = at;
        }
        before = [last, c];
    }
    words.push(bare(&part[start..]));
    words.retain(|word| !word.is_empty());
    words
}

/// Returns a word without its separators, and without digits at its end.
fn bare(word: &str) -> &str {
    let word = word.trim_start_matches(|c: char| !c.is_alphanumeric());
    word.trim_end_matches(|c: char| c.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_say_what_is_secret() {
        let secret = "\
            --api-key HF_TOKEN token db.password wandbApiKey AWS_SECRET_ACCESS_KEY --hub_token client-secret \
            PGPASSWORD SSHPASS OPENAI_KEY GITHUB_PAT HF_TOKEN_READ HF_TOKEN_ACME --pass wandb_key apiKey \
            APIKey HFToken --auth --pat --cookie --pw api_keys AWSAccessKeyId aws_access_key_id \
            fs.s3a.secret.key secrets.hub token2 API_KEY_2 X-Amz-Signature optim/lr.api_key data[api_key] \
            ++trainer.wandb_key user_token bot_token";
        for name in secret.split(' ') {
            assert!(verdict(name) >= Verdict::Secret, "{name}");
        }
        let plain = "\
            num_tokens --max-tokens pad_token tokenizer --keys monkey secretary sort-key label_key hotkey \
            attn_key_dim PRNGKey trainer.text_key first_pass file_pat KEY_DIM TOKEN_FILE MAX_TOKENS \
            TOKENIZERS_PARALLELISM author path key_id decoder_start_token_id --- é";
        for name in plain.split(' ').chain([""]) {
            assert_eq!(verdict(name), Verdict::Plain, "{name}");
        }
        for name in ["key", "--key", "model.key", "sig"] {
            assert_eq!(verdict(name), Verdict::IfRandom, "{name}");
        }
    }

    #[test]
    fn every_word_of_the_table_has_a_stem() {
        let lists = [SECRETS, PASSWORDS, ENDS, VARIABLES, HOLDERS, HEADERS, USERS, ATTACHED];
        let words = lists.iter().flat_map(|list| list.split(' ')).chain(QUERY.split(' '));
        for word in words.chain(PROGRAMS.iter().flat_map(|(program, option)| [*program, *option])) {
            let has_stem = STEMS.iter().any(|stem| word.to_ascii_lowercase().contains(stem));
            assert!(has_stem || ["-a", "-b", "-p", "--relogin", "wandb"].contains(&word), "{word}");
        }
    }

    #[test]
    fn the_manual_shows_the_table() {
        let page = include_str!("../../../man/run-dir.5");
        let section = page.split(".Sh SECRETS").nth(1).unwrap().split("\n.Sh ").next().unwrap();
        let told: Vec<&str> = section.split([' ', '\n', ',', ';']).collect();
        let lists = [
            SECRETS,
            PASSWORDS,
            ENDS,
            KEYS,
            PLAIN_KEYS,
            PLAIN_TOKENS,
            PLAIN_OTHERS,
            SCOPES,
            HOLDERS,
            FLAGS,
            SCHEMES,
            HEADERS,
            NO_VALUES,
            OTHER_USERS,
        ];
        for word in lists.iter().flat_map(|list| list.split(' ')) {
            assert!(told.contains(&word), "{word}");
        }
        let starts = SHAPES.iter().map(|shape| shape.start).chain(WEBHOOKS);
        for start in starts.chain(PROGRAMS.iter().map(|(program, _)| *program)) {
            assert!(section.contains(start), "{start}");
        }
    }
}
