//! The names of metrics, and what a name tells.

use run_metrics::row::STEP_KEYS;

/// Says whether a column is a metric: neither a step nor a time.
pub(crate) fn is_metric(name: &str) -> bool {
    !STEP_KEYS.contains(&name) && !["time", "timestamp", "wall_time"].contains(&name)
}

/// Says whether more of a metric is better, by the words in its name; less is, unless they say so. A
/// loss of rewards is a loss.
pub(crate) fn more_is_better(name: &str) -> bool {
    const LESS: &str = "loss losses error err nll perplexity";
    const MORE: &str = "acc acc1 acc5 accuracies accuracy ap auc auprc auroc bleu corr correlation dice elo em \
                        exact f1 fps iou map mcc mfu miou mrr ndcg pass precision psnr r2 recall return returns \
                        rew reward rewards rouge score ssim success throughput top1 top5 win";
    let name = name.to_lowercase();
    let has = |list: &str| {
        let mut words = name.split(|c: char| !c.is_alphanumeric());
        words.any(|word| list.split(' ').any(|listed| listed == word))
    };
    has(MORE) && !has(LESS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn which_way_is_better_is_in_the_name() {
        for name in [
            "acc",
            "val/accuracy",
            "env/all/reward/total",
            "rollout/ep_rew_mean",
            "episodic_return",
            "pass@1",
            "F1",
            "Acc@1",
        ] {
            assert!(more_is_better(name), "{name}");
        }
        for name in
            ["loss", "val_loss", "perplexity", "kl", "accumulated_error", "reward/loss", "score_error"]
        {
            assert!(!more_is_better(name), "{name}");
        }
    }
}
