"""What an AutoDJ plays next. Runs on the node as the station's tenant; standard library only.

``chooser`` decides and is pure; ``library`` looks at files; ``index`` measures them; ``__main__`` keeps the state.
"""
