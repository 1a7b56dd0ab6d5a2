"""save_checkpoints.py WAY DIRECTORY COUNT [SMALL]: trains a small model, and saves so many checkpoints as its library does."""

import sys
from pathlib import Path

import torch

way, root, count = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3])
WIDTH, LAYERS = (64, 2) if sys.argv[4:] else (384, 6)
WORDS, LENGTH, STEPS = 2000, 32, 5
torch.manual_seed(1)


def language_model():
    """Returns a small GPT-2, whose embedding and head are tied."""
    from transformers import GPT2Config, GPT2LMHeadModel
    return GPT2LMHeadModel(GPT2Config(
        n_layer=LAYERS, n_embd=WIDTH, n_head=4, vocab_size=WORDS, n_positions=LENGTH, bos_token_id=0, eos_token_id=0))


def lora():
    """Returns the settings of an adapter."""
    from peft import LoraConfig
    return LoraConfig(task_type="CAUSAL_LM", r=8, target_modules=["c_attn"], fan_in_fan_out=True)


def fit(model, callbacks=()):
    """Trains with the Trainer of transformers, which saves a checkpoint every few steps."""
    from transformers import Trainer, TrainingArguments
    rows = torch.randint(0, WORDS, (STEPS * count * 2, LENGTH))
    data = [{"input_ids": row, "labels": row} for row in rows]
    arguments = TrainingArguments(
        str(root), max_steps=STEPS * count, per_device_train_batch_size=2, save_steps=STEPS, logging_steps=1000,
        learning_rate=1e-3, report_to=[], use_cpu=True, disable_tqdm=True)
    Trainer(model, arguments, train_dataset=data, callbacks=list(callbacks)).train()


def adapter():
    """LoRA as PEFT writes its checkpoints: the adapter alone."""
    from peft import get_peft_model
    fit(get_peft_model(language_model(), lora()))


def with_base():
    """LoRA inside a model that is no PeftModel: the frozen base is in every checkpoint."""
    from peft import inject_adapter_in_model
    fit(inject_adapter_in_model(lora(), language_model()))


def merged():
    """LoRA whose weights are merged for every checkpoint, as for serving, beside the adapter."""
    import copy

    from peft import get_peft_model
    from transformers import TrainerCallback

    class Merge(TrainerCallback):
        def on_save(self, args, state, control, model=None, **_):
            whole = copy.deepcopy(model).merge_and_unload()
            whole.save_pretrained(root / f"checkpoint-{state.global_step}" / "merged")

    fit(get_peft_model(language_model(), lora()), [Merge()])


def full():
    """A full fine-tune: weights, and the two moments of AdamW."""
    fit(language_model())


def ppo():
    """PPO of Stable Baselines 3: a zip file a checkpoint."""
    from stable_baselines3 import PPO
    from stable_baselines3.common.callbacks import CheckpointCallback
    model = PPO("MlpPolicy", "CartPole-v1", n_steps=256, seed=1, device="cpu", policy_kwargs={"net_arch": [WIDTH, WIDTH]})
    model.learn(256 * count, callback=CheckpointCallback(256, str(root)))


def dqn():
    """DQN of one's own with safetensors: the target network follows every second checkpoint."""
    from safetensors.torch import save_file
    layers = lambda: torch.nn.Sequential(  # noqa: E731
        torch.nn.Linear(8, WIDTH), torch.nn.ReLU(), torch.nn.Linear(WIDTH, WIDTH), torch.nn.ReLU(), torch.nn.Linear(WIDTH, 4))
    online, target = layers(), layers()
    optimizer = torch.optim.Adam(online.parameters(), 1e-3)
    for number in range(1, count + 1):
        for _ in range(STEPS):
            states, rewards = torch.randn(64, 8), torch.randn(64)
            loss = (online(states).max(1).values - rewards - 0.9 * target(states).max(1).values.detach()).square().mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        if number % 2:
            target.load_state_dict(online.state_dict())
        directory = root / f"checkpoint-{number}"
        directory.mkdir(parents=True)
        save_file({f"{name}.{key}": tensor.clone() for name, net in (("online", online), ("target", target))
                   for key, tensor in net.state_dict().items()}, directory / "model.safetensors")
        torch.save(optimizer.state_dict(), directory / "optimizer.pt")


{"adapter": adapter, "with-base": with_base, "merged": merged, "full": full, "ppo": ppo, "dqn": dqn}[way]()
