// Every word that the portal shows, so that it can be translated in one place.

export const t = {
  app: "Webhooks",
  close: "Close",
  copy: {
    verb: "Copy",
    done: "Copied",
    of: (what: string) => `Copy ${what}`,
  },
  closed: {
    title: "This page needs a new link",
    again: "Open the webhooks page from your dashboard again.",
    text: "Your session has ended, or its link was used before. Open the webhooks page from your dashboard again.",
  },
  opening: "Opening…",
};
