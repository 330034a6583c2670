"""The front end, for ``streamlit run app.py``; ``escalation app`` starts the same pages with lasting sign-ins."""

from escalation.ui.router import main

if __name__ == "__main__":
    main()
