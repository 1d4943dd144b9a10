"""The subjects of the storage suite, one file each; ``queuectl.testing.storage`` puts them together."""
