"""Programs for `accelerate launch`, installed as `cmrsynth.programs`."""
