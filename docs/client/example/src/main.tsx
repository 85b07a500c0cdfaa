import { QueryClient, QueryClientProvider } from '@tanstack/react-query';
import { createRoot } from 'react-dom/client';
import { App } from './App.js';
import { RitaProvider } from './rita/react.js';
import { Rita } from './rita/rita.js';

// Your own session's token. Here it is pasted, and kept for this tab.
const token = () => sessionStorage.getItem('token') ?? '';
const rita = new Rita(import.meta.env.VITE_RITA_URL, token);

createRoot(document.getElementById('root')!).render(
  <QueryClientProvider client={new QueryClient()}>
    <RitaProvider rita={rita}><App /></RitaProvider>
  </QueryClientProvider>,
);
