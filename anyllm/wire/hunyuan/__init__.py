"""Tencent Hunyuan's native API."""
