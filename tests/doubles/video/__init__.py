"""What the doubles of video servers have in common: RTMP for encoders, HLS of what they send, and small servers."""
