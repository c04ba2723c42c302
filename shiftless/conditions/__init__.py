"""What steers a model: prompts, captions, ControlNets and LoRAs, one file each."""
