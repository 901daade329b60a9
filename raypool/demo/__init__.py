"""The main job in a minute: sign in, get killed, go on signed in. On a small site of its own."""
