//! What the name of a metric tells: whether higher or lower is better, and whether the metric judges the
//! training or is mere bookkeeping. Used to compare runs, and to choose the metrics to show first.

use super::step_key::is_step;
use std::cell::RefCell;
use std::collections::HashMap;

/// The better direction of a metric.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Better {
    /// Lower is better.
    Less,
    /// Higher is better.
    More,
}

impl Better {
    /// Derives the direction from the words of a name; `None` if unknown. The loss of a reward is a loss.
    pub fn of(name: &str) -> Option<Self> {
        let words = words(name);
        let has = |list: &str| words.iter().any(|word| word.is_one_of(list));
        let follow = |first: &str, second: &str| {
            words.windows(2).any(|pair| pair[0].is(first) && pair[1].is_one_of(second))
        };
        let is_rate = follow("per", "second sec s") || has("persec");
        if let Some(is_good) = of_outcomes(&words) {
            return Some(if is_good { Self::More } else { Self::Less });
        }
        if has(OPPOSITES) {
            return follow_any(&words, OPPOSITES, "likelihood loglikelihood log").then_some(Self::Less);
        }
        let is_coefficient = follow_any(&words, "correlation dice jaccard", "coef coeff coefficient");
        if has(NEITHER) && !follow("explained", "variance var") && !is_coefficient {
            return None;
        }
        let is_size = has("bits nats") && follow("per", "byte char character dim token word");
        if has(LESS) || is_size {
            return Some(Self::Less);
        }
        let is_more = has(MORE)
            || is_rate
            || follow("explained", "variance var")
            || words.iter().any(|word| word.has_digits && word.is("top"))
            || follow("top", TOP)
            || name.contains('@') && follow_any(&words, "hr p r", TOP);
        is_more.then_some(Self::More)
    }

    /// Returns whether higher is better.
    pub fn is_more(self) -> bool {
        self == Self::More
    }
}

/// Words of metrics for which lower is better.
const LESS: &str = "abserr absrel bpb bpc bpd bppl brier ce cer cost crossentropy crps distortion ece \
    eer emd epe err error errors fad fde fid fvd hausdorff hd95 hter huber kid latency logloss loss losses \
    lpips mae mape mcd minade mindcf minfde mpjpe mse msle nll nmse overfit perplexity ppl regret rmsd rmse \
    rmsle silog smape ter violation violations wer";

/// Words of metrics for which higher is better.
const MORE: &str = "acc accuracies accuracy ami amota ap apl apm aps ar ari arl arm ars auc aucpr auprc \
    auroc bertscore bleu bleurt chrf cider cka clipscore comet concordance corr corrcoef correct correlation \
    dice dsc elbo elo em exact f1 f2 fbeta fmeasure fps fscore gleu hit hitrate hits hmean hota idf1 iou \
    ious jaccard kappa kendall kendalltau lddt likelihood loglik loglikelihood map mar mcc meteor mfu miou \
    mos mota mrr ndcg nds nmi nse pass pearson pearsonr pesq plddt pnl ppv prec precision profit profits \
    psnr purity qwk r2 recall ret return returns rew reward rewards rouge rougel rougelsum rsquared \
    sacrebleu score scores sdr sensitivity sharpe silhouette similarity sisdr sisnr snr solved sortino \
    spearman spearmanr specificity spice squad ssim stoi success successes throughput tnr tpr vmaf win \
    winrate wins won youden";

/// Numbers of answers that count, as in `top-5` and `p@10`.
const TOP: &str = "1 2 3 5 10 20 50 100 1000";

/// Words that make the direction unknown: measures of spread, settings rather than results, and metrics with
/// two sides.
const NEITHER: &str = "coef coefficient count counts lr num rejected scale sem std stddev stderr target threshold var \
    variance weight weights";

/// Words that turn the following words into their opposite.
const OPPOSITES: &str = "minus neg negative inverse";

/// Words of bookkeeping metrics, which do not judge the training.
const BOOKKEEPING: &str = "cpu cuda dt duration elapsed eta flops flos fps gpu gpus hours iterations iters mem memory mfu minutes ms \
    percentage persec pid progress ram rank rss runtime sec second seconds secs seed sps throughput \
    time times timestamp tps vram walltime wall";

/// Words of the metrics that judge a training first, besides metrics of validation data.
const MAIN: &str = "acc accuracies accuracy loss losses ret return returns rew reward rewards";

/// Words of metrics of validation data.
const VALIDATION: &str = "val valid validation eval evaluation test dev";

/// Words of learning rates, and of counts of the data so far, which programs add to any row.
const SCHEDULE: &str = "lr lrs learningrate seen consumed";

/// A word of a name.
struct Word {
    /// The word in lower case.
    text: String,
    /// The word without trailing digits.
    bare: usize,
    has_digits: bool,
}

impl Word {
    fn new(text: &str) -> Self {
        let text = text.to_lowercase();
        let digits = |text: &str| text.trim_end_matches(|c: char| c.is_ascii_digit()).len();
        let bare = match text.strip_suffix('k') {
            Some(thousands) if digits(thousands) < thousands.len() => digits(thousands),
            _ => digits(&text),
        };
        Self { has_digits: bare < text.len(), bare: if bare == 0 { text.len() } else { bare }, text }
    }

    fn is(&self, word: &str) -> bool {
        self.text == word || &self.text[..self.bare] == word
    }

    /// Returns whether it is in a list of words separated by blanks.
    fn is_one_of(&self, list: &str) -> bool {
        list.split(' ').any(|word| self.is(word))
    }
}

/// Splits a name into its words, at all characters other than letters and digits; also before a capital
/// letter after a lower-case one, in addition to the whole.
fn words(name: &str) -> Vec<Word> {
    let mut found = Vec::new();
    for word in name.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty()) {
        found.push(Word::new(word));
        let starts = word.char_indices().zip(word.chars().skip(1)).filter_map(|((at, one), next)| {
            (one.is_lowercase() && next.is_uppercase()).then_some(at + one.len_utf8())
        });
        let starts: Vec<usize> = std::iter::once(0).chain(starts).collect();
        if starts.len() > 1 {
            let ends = starts.iter().skip(1).copied().chain([word.len()]);
            found.extend(starts.iter().zip(ends).map(|(&start, end)| Word::new(&word[start..end])));
        }
    }
    found
}

fn follow_any(words: &[Word], first: &str, second: &str) -> bool {
    words.windows(2).any(|pair| pair[0].is_one_of(first) && pair[1].is_one_of(second))
}

/// Derives the direction of a rate of an outcome: whether that outcome is good.
fn of_outcomes(words: &[Word]) -> Option<bool> {
    let has = |list: &str| words.iter().any(|word| word.is_one_of(list));
    let is_rate = has("rate rates ratio");
    let answers = "alarm alarms discovery negative negatives positive positives";
    if has("fnr fpr")
        || is_rate
            && (has("collision collisions crash fail failed failure failures miss misses timeout timeouts")
                || follow_any(words, "false", answers))
    {
        return Some(false);
    }
    (is_rate && (has("completion solve solves") || follow_any(words, "true", answers))).then_some(true)
}

/// Returns whether a column is a metric: neither a step nor a time.
pub fn is_metric(name: &str) -> bool {
    !is_step(name) && !["time", "timestamp", "wall_time"].contains(&name)
}

/// The data that a metric is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Data {
    /// Such as `loss` or `train/accuracy`.
    Training,
    /// Such as `eval/loss` or `val_acc`.
    Validation,
}

impl Data {
    /// Derives the data from the words of a name; `None` for steps, times, other bookkeeping and learning rates,
    /// which stand in rows of both.
    pub fn of(name: &str) -> Option<Self> {
        if !is_metric(name) || is_bookkeeping(name) {
            return None;
        }
        let words = words(name);
        if words.iter().any(|word| word.is_one_of(SCHEDULE)) || follow_any(&words, "learning", "rate rates") {
            return None;
        }
        let is_validation = words.iter().any(|word| word.is_one_of(VALIDATION));
        Some(if is_validation { Self::Validation } else { Self::Training })
    }
}

/// How useful a metric is for judging a training at first sight: the smaller, the more useful.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Interest {
    /// It judges the training first.
    Main,
    /// It judges the training otherwise.
    Result,
    /// Anything else.
    State,
    Bookkeeping,
}

impl Interest {
    fn of(name: &str) -> Self {
        let words = words(name);
        let has = |list: &str| words.iter().any(|word| word.is_one_of(list));
        if is_step(name) || has(BOOKKEEPING) && !has("loss losses") {
            Self::Bookkeeping
        } else if has(MAIN) || has(VALIDATION) {
            Self::Main
        } else if Better::of(name).is_some() {
            Self::Result
        } else {
            Self::State
        }
    }
}

/// Returns whether a metric does not judge the training, such as a time or the use of memory.
pub fn is_bookkeeping(name: &str) -> bool {
    interest(name) == Interest::Bookkeeping
}

/// Maximum number of names whose interest a thread caches.
const KEPT: usize = 1000;

/// Returns how useful a metric is, computed once per name: the rows of a listing have the same names.
fn interest(name: &str) -> Interest {
    thread_local!(static FOUND: RefCell<HashMap<String, Interest>> = RefCell::default());
    FOUND.with_borrow_mut(|found| {
        if let Some(interest) = found.get(name) {
            return *interest;
        }
        if found.len() >= KEPT {
            found.clear();
        }
        let interest = Interest::of(name);
        found.insert(name.to_owned(), interest);
        interest
    })
}

/// Chooses the metrics to show first: losses, rewards, returns, accuracies and validations, then others that
/// judge the training, then others, and among these the ones that most runs have; no bookkeeping metrics if
/// there are others. Returns each with the number of runs that have it, in the order first logged.
pub fn headline<'a>(metrics: impl Iterator<Item = (&'a str, usize)>, most: usize) -> Vec<&'a str> {
    let mut all: Vec<(Interest, usize, usize, &str)> = metrics
        .filter(|(name, _)| is_metric(name))
        .enumerate()
        .map(|(place, (name, runs))| (interest(name), usize::MAX - runs, place, name))
        .collect();
    if all.iter().any(|(interest, ..)| *interest < Interest::Bookkeeping) {
        all.retain(|(interest, ..)| *interest < Interest::Bookkeeping);
    }
    all.sort_unstable();
    all.truncate(most);
    all.sort_unstable_by_key(|(_, _, place, _)| *place);
    all.into_iter().map(|(.., name)| name).collect()
}

/// Counts in how many lists each name is, in the order of first appearance.
pub fn counted<'a>(lists: impl Iterator<Item = impl Iterator<Item = &'a str>>) -> Vec<(&'a str, usize)> {
    let mut counts: Vec<(&str, usize)> = Vec::new();
    let mut places: HashMap<&str, usize> = HashMap::new();
    for name in lists.flatten() {
        let place = *places.entry(name).or_insert_with(|| {
            counts.push((name, 0));
            counts.len() - 1
        });
        counts[place].1 += 1;
    }
    counts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn which_way_is_better_is_in_the_name() {
        for name in
            "acc | val/accuracy | env/all/reward/total | rollout/ep_rew_mean | episodic_return | pass@1 | \
            F1 | Acc@1 | mAP50 | mAP50-95 | metrics/mAP50(B) | metrics/mAP50-95(B) | mAP_50 | rouge1 | \
            rougeL | rouge-2 | hit_rate | hit10 | hits@10 | AR | AR100 | AP | APs | APm | AP75 | box_AP | \
            hmean | jaccard | cohen_kappa | spearman | pearson | CIDEr | METEOR | sharpe | sharpe_ratio | \
            profit | tokens_per_second | train_samples_per_second | elbo | BLEU | BLEU-4 | return | \
            reward | auc | AverageEpRet | EpisodeReward | testAccuracy | success_rate | win_rate | top5 | \
            top@5 | top-1 | P@10 | explained_variance | train/explained_variance | acc,none | \
            exact_match,strict-match | ndcg@10 | recall@20 | val_log_likelihood | R2 | psnr | \
            eval/rewards/margins | mIoU | dice_coef | matthews_corrcoef | kendalltau | prec1 | HR@10 | \
            solve_rate | completion_rate | true_positive_rate | true_negative_rate | qwk"
                .split(" | ")
        {
            assert_eq!(Better::of(name), Some(Better::More), "{name}");
        }
        for name in
            "loss | val_loss | perplexity | accumulated_error | reward/loss | score_error | elbo_loss | \
            LOSS | trainLoss | loss2 | loss (total) | val_bpb | RMSE | WER | cer | FID | fid50k | \
            error_rate | neg_log_likelihood | nll | fpr | failure_rate | lm loss | box_loss | mse | \
            cross_entropy_loss | bits_per_byte | false_positive_rate | false_negative_rate | timeout_rate | \
            crps | minADE | kl_loss"
                .split(" | ")
        {
            assert_eq!(Better::of(name), Some(Better::Less), "{name}");
        }
        for name in "kl | entropy | lr | learning_rate | grad_norm | epsilon | temperature | x |  | ratio | \
            accuracy_std | reward_std | loss_weight | neg_mean_squared_error | rewards/rejected | \
            exploration_rate | score_threshold | p99 | top_k | length | ep_len_mean | p | top | q_values | \
            a1 | 50 | alpha | kl_divergence | completion_length | mean_positive | loss_coef"
            .split(" | ")
        {
            assert_eq!(Better::of(name), None, "{name}");
        }
    }

    #[test]
    fn a_name_tells_of_which_data_a_metric_is() {
        let all =
            |names: &str, data| names.split(' ').for_each(|name| assert_eq!(Data::of(name), data, "{name}"));
        all(
            "eval_loss val/accuracy testAccuracy valid_ppl dev.f1 eval/rewards/margins",
            Some(Data::Validation),
        );
        all("loss train/accuracy grad_norm epsilon kl latest lead", Some(Data::Training));
        all("step epoch trainer/global_step time timestamp _timestamp _runtime _step eval_runtime", None);
        all("eval_samples_per_second total_flos lr lr-Adam learning_rate train/learningRate", None);
        all("num_input_tokens_seen consumed_samples", None);
    }

    #[test]
    fn what_keeps_the_books_is_no_headline() {
        let shown = |names: &[&'static str]| headline(names.iter().map(|name| (*name, 1)), 3);
        assert_eq!(
            shown(&["lr", "train_runtime", "loss", "val_loss", "grad_norm"]),
            ["lr", "loss", "val_loss"]
        );
        assert_eq!(shown(&["loss", "time", "mfu"]), ["loss"]);
        assert_eq!(shown(&["metrics.step", "eval/metrics.step", "total_flos", "fps"]), ["total_flos", "fps"]);
        assert_eq!(shown(&["epsilon", "fps", "a", "reward", "b"]), ["epsilon", "a", "reward"]);
        assert_eq!(shown(&["a", "b", "c", "accuracy", "d", "loss"]), ["a", "accuracy", "loss"]);
        assert_eq!(
            shown(&["kappa", "elbo", "success_rate", "loss", "val/psnr"]),
            ["kappa", "loss", "val/psnr"]
        );
        let counts = [("own_loss", 1), ("loss", 3), ("other_loss", 1), ("acc", 3), ("odd", 9)];
        assert_eq!(headline(counts.into_iter(), 2), ["loss", "acc"]);
    }
}
