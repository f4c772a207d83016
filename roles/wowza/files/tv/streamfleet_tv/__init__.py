"""What plays a television channel of Wowza by itself: one process a channel, as the customer's own user.

It publishes to the channel's own application, by RTMP on loopback, one recording after another as they are, in real
time; and what a broadcaster sends meanwhile. Which recording comes next says what the AutoDJ of stations says it with.
"""
