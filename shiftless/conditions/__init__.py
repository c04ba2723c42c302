"""What steers a model: prompts now; ControlNet, LoRA and others fit the same Condition."""
