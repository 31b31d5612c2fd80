"""The Node Resource Interface: plugins that look at pods and containers and adjust them."""
