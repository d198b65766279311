"""Model card templates (Jinja), one per family of pipelines; `cmrsynth.hub.cards` fills them in."""
